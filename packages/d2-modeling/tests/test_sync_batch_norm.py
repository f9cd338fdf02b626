"""Batch normalisation over processes."""

import multiprocessing
import os
import socket
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from d2_modeling.layers import NaiveSyncBatchNorm

WORLD_SIZE = 2
Case = tuple[str, tuple[int, ...], dict[str, Any]]
CASES: list[Case] = [
    ("", (2, 2), {}),
    ("N", (3, 1), {}),
    ("N", (0, 2), {}),
    ("N", (2, 1), {"affine": False}),
    ("N", (2, 1), {"track_running_stats": False}),
    ("", (1, 1), {"eps": 0.5, "momentum": 0.7}),
]


def _batches(sizes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 4, 4, generator=generator) for size in sizes]


def _run(rank: int, port: int, results: Any) -> None:
    """Normalise this process's part of every case."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=WORLD_SIZE)
    torch.set_num_threads(1)
    outcome = []
    for mode, sizes, options in CASES:
        norm = NaiveSyncBatchNorm(3, stats_mode=mode, **options)
        x = _batches(sizes)[rank].requires_grad_()
        y = norm(x)
        (y.square().sum() + y.sum()).backward()
        assert x.grad is not None
        mean = norm.running_mean
        outcome.append((y.tolist(), x.grad.tolist(), None if mean is None else mean.tolist()))
    results.put((rank, outcome, _of_other_kinds(rank)))
    dist.destroy_process_group()


def _of_other_kinds(rank: int) -> dict[str, Any]:
    """What happens in evaluation, in half precision, and without any images."""
    x = _batches((2, 2))[rank]
    norm = NaiveSyncBatchNorm(3)
    found: dict[str, Any] = {"half": norm(x.bfloat16()), "single": norm(x)}
    found["of half"] = str(found["half"].dtype)
    found["half"] = found["half"].float()
    norm.eval()
    before = [value.clone() for value in norm.state_dict().values()]
    found["evaluated"] = torch.equal(norm(x), nn.BatchNorm2d.forward(norm, x))
    by_size = NaiveSyncBatchNorm(3, stats_mode="N")
    found["nothing"] = list(by_size(x[:0]).shape)
    values = norm.state_dict().values()
    found["kept"] = all(torch.equal(*pair) for pair in zip(before, values, strict=True))
    found["kept"] &= not by_size.running_mean.any()  # type: ignore[union-attr]  # there is one
    try:
        NaiveSyncBatchNorm(3)(x[:0])
    except ValueError as error:
        found["refused"] = str(error)
    return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in found.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[list[Any], dict[str, Any]]]:
    """For each process, its outputs, gradients and running means of every case, and the rest."""
    context = multiprocessing.get_context("spawn")
    results, port = context.SimpleQueue(), _free_port()
    workers = [
        context.Process(target=_run, args=(rank, port, results)) for rank in range(WORLD_SIZE)
    ]
    for worker in workers:
        worker.start()
    by_rank = {rank: found for rank, *found in (results.get() for _ in workers)}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return [by_rank[rank] for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_two_processes_give_what_one_gives_on_the_joined_batch(
    case: int, outcomes: list[tuple[list[Any], dict[str, Any]]]
) -> None:
    _, sizes, options = CASES[case]
    joined = torch.cat(_batches(sizes)).requires_grad_()
    reference = nn.BatchNorm2d(3, **options)
    y = reference(joined)
    (y.square().sum() + y.sum()).backward()
    assert joined.grad is not None
    outputs, gradients = (
        torch.cat([torch.tensor(mine[case][part]).view(-1, 3, 4, 4) for mine, _ in outcomes])
        for part in (0, 1)
    )
    torch.testing.assert_close(outputs, y.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients, joined.grad, rtol=1e-3, atol=1e-4)
    for mine, _ in outcomes:
        if reference.running_mean is None:
            assert mine[case][2] is None
        else:
            torch.testing.assert_close(torch.tensor(mine[case][2]), reference.running_mean)


def test_half_precision_is_normalised_in_single_precision(
    outcomes: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    for _, found in outcomes:
        assert found["of half"] == "torch.bfloat16"
        half, single = (torch.tensor(found[key]) for key in ("half", "single"))
        torch.testing.assert_close(half, single, rtol=2e-2, atol=2e-2)


def test_in_evaluation_it_is_batch_norm(
    outcomes: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    assert all(found["evaluated"] for _, found in outcomes)


def test_without_images_anywhere_the_statistics_stay_as_they_are(
    outcomes: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    for _, found in outcomes:
        assert found["nothing"] == [0, 3, 4, 4]
        assert found["kept"]


def test_processes_of_equal_weight_refuse_to_have_no_images(
    outcomes: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    for _, found in outcomes:
        assert "got an empty batch; use stats_mode='N'" in found["refused"]
