"""A loader that is stopped and resumed gives the batches of one that was not."""

import itertools
import random
from operator import itemgetter

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from d2_data import (
    SharedStream,
    build_detection_test_loader,
    build_detection_train_loader,
)
from d2_data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from d2_structures import comm

RECORDS = [{"id": i, "width": 1 + (i * 7) % 3, "height": 2} for i in range(23)]
BATCHES = 14


def with_draws(record):
    draws = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return {**record, "draws": draws}


def dropping(record):
    """As a mapper that does without some records of a stream."""
    return None if record["id"] % 5 == 3 else with_draws(record)


class Unlisted(Dataset):
    def __len__(self):
        return len(RECORDS)

    def __getitem__(self, index):
        return dict(RECORDS[index])


class OwnShares(IterableDataset):
    """Endless; shares itself out among workers and processes."""

    def __init__(self):
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self):
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        step = self.world_size * workers
        yield from itertools.islice(
            itertools.cycle(RECORDS), self.rank * workers + worker, None, step
        )


class WithState(OwnShares):
    """Notes how many elements were read since it was restored."""

    def __init__(self):
        super().__init__()
        self.at = 0

    def __iter__(self):
        for element in itertools.islice(super().__iter__(), self.at, None):
            self.at += 1
            yield {**element, "number": self.at}

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Cycle:
    def __iter__(self):
        return itertools.cycle(RECORDS)


DATASETS = {
    "list": lambda: RECORDS,
    "unlisted": Unlisted,
    "stream": OwnShares,
    "stream_with_state": WithState,
    "shared_stream": lambda: SharedStream(Cycle()),
}


@pytest.fixture
def process(monkeypatch):
    """Pretend to be process ``rank`` of ``world_size``."""

    def pretend(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return pretend


def build(kind, *, grouping=True, num_workers=0, mapper=with_draws, seed=4, **options):
    return build_detection_train_loader(
        DATASETS[kind](),
        mapper=mapper,
        total_batch_size=2 * comm.get_world_size(),
        aspect_ratio_grouping=grouping,
        num_workers=num_workers,
        seed=seed,
        **options,
    )


def stopped_and_resumed(make, stops):
    """All batches, taken by one loader after the other, each handed the state of the one before."""
    batches, state = [], None
    for count in stops:
        loader = make()
        if state is not None:
            loader.load_state_dict(state)
        batches += itertools.islice(loader, count)
        state = loader.state_dict()
    return batches


# More of them than this machine has cores is what is to be tested.
many_workers = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@many_workers
@pytest.mark.parametrize("grouping", [True, False], ids=["grouped", "plain"])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("kind", DATASETS)
def test_stopped_and_resumed_batches_are_those_of_one_run(kind, num_workers, grouping):
    def make():
        return build(kind, grouping=grouping, num_workers=num_workers)

    whole = list(itertools.islice(make(), BATCHES))
    assert stopped_and_resumed(make, [1, 4, 0, 5, 4]) == whole


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_each_of_several_processes_goes_on_with_its_own_state(kind, world_size, process):
    for rank in range(world_size):
        process(rank, world_size)
        whole = list(itertools.islice(build(kind), BATCHES))
        assert stopped_and_resumed(lambda: build(kind), [3, 7, 4]) == whole


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", DATASETS)
def test_state_of_another_process_serves_as_well(kind, num_workers, process):
    # A checkpoint is written by one process.
    process(0, 2)
    saving = build(kind, num_workers=num_workers)
    list(itertools.islice(saving, 5))
    state = saving.state_dict()
    process(1, 2)
    whole = list(itertools.islice(build(kind, num_workers=num_workers), BATCHES))
    resumed = build(kind, num_workers=num_workers)
    resumed.load_state_dict(state)
    assert list(itertools.islice(resumed, BATCHES - 5)) == whole[5:]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["stream", "stream_with_state", "shared_stream"])
def test_elements_that_the_mapper_dropped_are_not_counted_twice(kind, num_workers, process):
    def make():
        return build(kind, mapper=dropping, num_workers=num_workers)

    whole = list(itertools.islice(make(), BATCHES))
    assert stopped_and_resumed(make, [6, 3, 5]) == whole
    process(0, 2)
    saving = make()
    list(itertools.islice(saving, 6))
    state = saving.state_dict()
    process(1, 2)
    whole, resumed = list(itertools.islice(make(), BATCHES)), make()
    resumed.load_state_dict(state)
    assert list(itertools.islice(resumed, BATCHES - 6)) == whole[6:]


@many_workers
def test_batches_of_a_list_go_on_with_another_number_of_workers():
    whole = list(itertools.islice(build("list"), BATCHES))
    counts = iter([2, 0, 3])
    assert stopped_and_resumed(lambda: build("list", num_workers=next(counts)), [3, 4, 7]) == whole


def test_drawn_seeds_go_on_too():
    saving = build("list", seed=None)
    whole = list(itertools.islice(saving, BATCHES))
    list(itertools.islice(saving, 5))
    resumed = build("list", seed=None)
    resumed.load_state_dict(saving.state_dict())
    assert list(itertools.islice(resumed, BATCHES - 5)) == whole[5:]


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: TrainingSampler(23),
        lambda: RepeatFactorTrainingSampler(torch.full((23,), 1.5)),
    ],
)
def test_drawn_seed_of_a_given_sampler_goes_on_too(sampler):
    saving = build("list", sampler=sampler())
    whole = list(itertools.islice(saving, BATCHES))
    list(itertools.islice(saving, 5))
    resumed = build("list", sampler=sampler())
    resumed.load_state_dict(saving.state_dict())
    assert list(itertools.islice(resumed, BATCHES - 5)) == whole[5:]


def test_seed_that_differs_from_the_saved_one_is_not_ignored_in_silence(caplog):
    saving = build("list", seed=4)
    next(iter(saving))
    build("list", seed=5).load_state_dict(saving.state_dict())
    assert "goes on with the seed 4 of the saved state, not 5" in caplog.text


def test_what_lies_behind_is_not_mapped_again():
    saving = build("list")
    list(itertools.islice(saving, 5))
    mapped = []
    resumed = build("list", mapper=lambda record: mapped.append(record["id"]) or record)
    resumed.load_state_dict(saving.state_dict())
    next(iter(resumed))
    assert len(mapped) == 2


def test_stream_with_a_state_is_not_read_again():
    saving = build("stream_with_state")
    list(itertools.islice(saving, 9))
    dataset = WithState()
    resumed = build_detection_train_loader(
        dataset, mapper=None, total_batch_size=2, aspect_ratio_grouping=True, seed=4
    )
    resumed.load_state_dict(saving.state_dict())
    begin = saving.state_dict()["workers"][0]["begin"]
    assert begin >= 14
    dataset.load_state_dict = lambda state: setattr(dataset, "at", state["at"])
    first = next(iter(resumed))
    assert all(element["number"] > begin for element in first)


def test_further_iterations_begin_at_the_beginning():
    for kind, workers in itertools.product(DATASETS, (0, 2)):
        loader = build(kind, num_workers=workers, persistent_workers=workers > 0)
        whole = list(itertools.islice(loader, 6))
        loader.load_state_dict({**loader.state_dict()})
        list(itertools.islice(loader, 3))
        assert list(itertools.islice(loader, 6)) == whole, (kind, workers)


def test_state_stays_while_a_restored_loader_waits():
    saving = build("unlisted")
    list(itertools.islice(saving, 5))
    waiting = build("unlisted")
    waiting.load_state_dict(saving.state_dict())
    assert waiting.state_dict() == saving.state_dict()


def test_state_is_plain_and_survives_a_checkpoint(tmp_path):
    for kind in DATASETS:
        loader = build(kind)
        list(itertools.islice(loader, 5))
        torch.save(loader.state_dict(), tmp_path / "state.pth")
        assert torch.load(tmp_path / "state.pth", weights_only=True) == loader.state_dict()


def test_batches_of_another_size_go_on_behind_the_same_samples(caplog):
    saving = build("list", grouping=False)
    list(itertools.islice(saving, 6))
    resumed = build_detection_train_loader(
        RECORDS, mapper=with_draws, total_batch_size=3, aspect_ratio_grouping=False, seed=4
    )
    resumed.load_state_dict(saving.state_dict())
    flat = [
        sample for batch in itertools.islice(build("list", grouping=False), 9) for sample in batch
    ]
    assert [sample for batch in itertools.islice(resumed, 2) for sample in batch] == flat[12:18]
    assert "batches of 2, over all processes, these have 3: going on behind 4" in caplog.text


def test_stream_of_another_number_of_workers_says_what_that_means(caplog):
    saving = build("stream", num_workers=2)
    list(itertools.islice(saving, 3))
    resumed = build("stream", num_workers=0)
    resumed.load_state_dict(saving.state_dict())
    assert len(next(iter(resumed))) == 2
    assert "is of 2 workers, this loader has 1" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_is_resumed_as_well(num_workers):
    def make():
        return build_detection_test_loader(
            RECORDS, mapper=itemgetter("id"), batch_size=3, num_workers=num_workers
        )

    assert stopped_and_resumed(make, [2, 3, 99]) == list(make())
    assert len(make()) == 8


def test_finite_stream_ends_where_it_would_have():
    def make():
        return build_detection_test_loader(
            SharedStream(RECORDS), mapper=None, batch_size=4, num_workers=2
        )

    whole = list(make())
    assert sorted(record["id"] for batch in whole for record in batch) == list(range(23))
    assert stopped_and_resumed(make, [3, 99]) == whole


def test_iterations_side_by_side_do_not_disturb_each_other():
    # But for a dataset that has but one state.
    for kind in DATASETS.keys() - {"stream_with_state"}:
        loader = build(kind)
        whole = list(itertools.islice(loader, 4))
        pairs = list(itertools.islice(zip(loader, loader, strict=False), 4))
        assert pairs == [(batch, batch) for batch in whole], kind


def test_state_without_batches_is_refused():
    with pytest.raises(KeyError, match=r"has 'batches'.*got \['iteration'\]"):
        build("list").load_state_dict({"iteration": 3})
