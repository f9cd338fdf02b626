"""Collectives, in one process and in real gloo groups of two and three."""

import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2_structures import Boxes, comm


def seed_numpy(seed):
    np.random.seed(seed)  # noqa: NPY002 - the global generator is the one that counts


def test_a_single_process_is_a_world_of_one():
    assert (comm.get_world_size(), comm.get_rank()) == (1, 0)
    assert (comm.get_local_size(), comm.get_local_rank()) == (1, 0)
    assert comm.is_main_process()
    comm.synchronize()
    data = {"a": object()}
    assert comm.all_gather(data)[0] is data
    assert comm.gather(data)[0] is data
    assert next(comm.gather_items([data])) is data
    losses = {"loss": torch.ones(())}
    assert comm.reduce_dict(losses) is losses


def test_the_shared_seed_of_a_single_process_follows_numpys_generator():
    seed_numpy(3)
    first = comm.shared_random_seed()
    seed_numpy(3)
    assert comm.shared_random_seed() == first
    assert 0 <= first < 2**31


def test_local_groups_need_a_distributed_run():
    with pytest.raises(RuntimeError, match="initialised"):
        comm.create_local_process_group(1)
    with pytest.raises(RuntimeError, match="create_local_process_group first"):
        comm.get_local_process_group()


def items_of(rank):
    """No item, some small ones, one that is larger than a piece."""
    return [{"rank": rank, "bytes": bytes(100 * n * rank)} for n in range(20 * rank)]


def report_all(rank, world_size, folder):
    """Run in every process: call everything and write down what came."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    seed_numpy(rank)
    report = {"rank": comm.get_rank(), "size": comm.get_world_size()}
    report["main"] = comm.is_main_process()
    try:
        comm.get_local_rank()
    except RuntimeError as error:
        report["unknown_machine"] = str(error)
    report["all"] = [boxes.tensor.tolist() for boxes in comm.all_gather(Boxes([[0, 0, 1, rank]]))]
    report["first"] = comm.gather(rank)
    mine = [torch.full((2,), float(rank)), torch.tensor(rank + 1)]
    comm.broadcast_tensors(mine, src=world_size - 1)
    report["broadcast"] = [value.tolist() for value in mine]
    report["items"] = list(comm.gather_items(items_of(rank), chunk_bytes=3000))
    report["items_of_last"] = list(comm.gather_items(iter([rank]), dst=world_size - 1))
    report["last"] = comm.gather(rank, dst=world_size - 1)
    report["seed"] = comm.shared_random_seed()
    losses = {"b": torch.tensor(float(rank), requires_grad=True), "a": torch.full((2,), rank + 1.0)}
    report["mean"] = {k: v.tolist() for k, v in comm.reduce_dict(losses).items()}
    report["sum"] = {k: v.tolist() for k, v in comm.reduce_dict(losses, average=False).items()}
    report["nothing"] = comm.reduce_dict({})
    try:
        comm.create_local_process_group(world_size + 1)
    except ValueError as error:
        report["bad_group"] = str(error)
    comm.create_local_process_group(1)
    report["local"] = (comm.get_local_rank(), comm.get_local_size())
    report["own"] = comm.all_gather(rank, group=comm.get_local_process_group())
    try:
        comm.create_local_process_group(1)
    except RuntimeError as error:
        report["twice"] = str(error)
    comm.synchronize()
    with open(f"{folder}/{rank}", "wb") as file:
        pickle.dump(report, file)
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def reports(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    mp.spawn(report_all, (request.param, str(folder)), nprocs=request.param)
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(request.param)]


def test_ranks_know_themselves(reports):
    size = len(reports)
    assert [(r["rank"], r["size"], r["main"]) for r in reports] == [
        (rank, size, rank == 0) for rank in range(size)
    ]


def test_all_gather_gives_every_rank_everything_in_order(reports):
    expected = [[[0, 0, 1, rank]] for rank in range(len(reports))]
    assert all(report["all"] == expected for report in reports)


def test_gather_gives_one_rank_everything_and_the_others_nothing(reports):
    ranks = [*range(len(reports))]
    assert [report["first"] for report in reports] == [ranks] + [[]] * (len(ranks) - 1)
    assert [report["last"] for report in reports] == [[]] * (len(ranks) - 1) + [ranks]


def test_many_items_come_in_the_order_of_ranks_on_one_rank_only(reports):
    size = len(reports)
    assert reports[0]["items"] == [item for rank in range(size) for item in items_of(rank)]
    assert all(report["items"] == [] for report in reports[1:])
    assert reports[-1]["items_of_last"] == list(range(size))
    assert all(report["items_of_last"] == [] for report in reports[:-1])


def test_items_are_pickled_piece_by_piece_as_they_are_taken():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield bytes(100)

    pieces = comm._pieces(items(), 1000)
    assert 1000 <= len(next(pieces)) < 1000 + 200
    assert len(taken) < 12
    assert max(map(len, pieces)) < 1000 + 200
    assert list(comm._pieces([], 1000)) == []


def test_broadcast_tensors_are_those_of_one_rank_everywhere(reports):
    size = len(reports)
    assert all(r["broadcast"] == [[size - 1.0] * 2, size] for r in reports)


def test_the_shared_seed_is_that_of_rank_zero_everywhere(reports):
    seed_numpy(0)
    assert {report["seed"] for report in reports} == {comm.shared_random_seed()}


def test_reduced_values_are_means_or_sums_on_rank_zero(reports):
    size = len(reports)
    mean = (size - 1) / 2
    assert reports[0]["mean"] == {"a": [mean + 1] * 2, "b": mean}
    assert reports[0]["sum"] == {"a": [(mean + 1) * size] * 2, "b": mean * size}
    assert reports[0]["nothing"] == {}


def test_local_ranks_come_from_the_local_group(reports):
    for rank, report in enumerate(reports):
        assert "torchrun" in report["unknown_machine"]
        assert "do not divide" in report["bad_group"]
        assert report["local"] == (0, 1)
        assert report["own"] == [rank]
        assert "exists already" in report["twice"]


def test_a_local_group_of_a_launcher_of_ones_own_counts(monkeypatch):
    group = object()
    monkeypatch.setattr(comm, "_LOCAL_PROCESS_GROUP", group)
    monkeypatch.setattr(comm.dist, "get_rank", lambda g: 3 if g is group else 0)
    monkeypatch.setattr(comm.dist, "get_world_size", lambda g: 4 if g is group else 1)
    assert comm.get_local_process_group() is group
    assert (comm.get_local_rank(), comm.get_local_size()) == (3, 4)
