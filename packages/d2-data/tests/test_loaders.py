import itertools
import random
from operator import itemgetter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, get_worker_info

from d2_data import (
    DatasetMapper,
    MapDataset,
    build_detection_test_loader,
    build_detection_train_loader,
)
from d2_data import transforms as T
from d2_data.samplers import TrainingSampler

RECORDS = [{"id": i, "width": 1 + i % 3, "height": 2} for i in range(12)]


def with_draws(record):
    """What a mapper does: the record and a draw of each global generator."""
    draws = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return {**record, "draws": draws}


def take(loader, count):
    return list(itertools.islice(loader, count))


@pytest.mark.parametrize("grouping", [True, False])
def test_batches_do_not_depend_on_the_number_of_workers(grouping):
    def batches(num_workers):
        loader = build_detection_train_loader(
            RECORDS,
            mapper=with_draws,
            total_batch_size=3,
            aspect_ratio_grouping=grouping,
            num_workers=num_workers,
            seed=4,
        )
        return take(loader, 12)

    alone = batches(0)
    assert batches(1) == alone
    assert batches(2) == alone


def test_seed_decides_order_and_draws():
    def batches(seed):
        return take(
            build_detection_train_loader(RECORDS, mapper=with_draws, total_batch_size=2, seed=seed),
            6,
        )

    assert batches(1) == batches(1)
    assert batches(1) != batches(2)


def test_run_seed_comes_from_the_global_generator_when_none_is_given():
    def batches():
        np.random.seed(9)
        loader = build_detection_train_loader(RECORDS, mapper=with_draws, total_batch_size=2)
        return take(loader, 4)

    assert batches() == batches()


def test_same_sample_is_drawn_differently_each_time():
    loader = build_detection_train_loader(RECORDS[:1], mapper=with_draws, total_batch_size=4)
    draws = {sample["draws"] for batch in take(loader, 5) for sample in batch}
    assert len(draws) == 20


def test_loading_here_does_not_disturb_the_training_loops_draws():
    loader = iter(
        build_detection_train_loader(RECORDS, mapper=with_draws, total_batch_size=2, seed=0)
    )
    next(loader)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(loader)
    assert torch.equal(torch.rand(3), expected)


def test_grouped_batches_have_one_orientation():
    loader = build_detection_train_loader(RECORDS, mapper=None, total_batch_size=3, seed=0)
    for batch in take(loader, 20):
        assert len(batch) == 3
        assert len({record["width"] > record["height"] for record in batch}) == 1


def test_grouping_looks_at_the_records_not_at_what_the_mapper_returns():
    loader = build_detection_train_loader(
        RECORDS, mapper=lambda record: record["id"], total_batch_size=2, seed=0
    )
    assert all(isinstance(identity, int) for identity in next(iter(loader)))


def test_every_sample_comes_once_a_round():
    loader = build_detection_train_loader(
        RECORDS, mapper=None, total_batch_size=4, aspect_ratio_grouping=False
    )
    seen = [record["id"] for batch in take(loader, 3) for record in batch]
    assert sorted(seen) == list(range(12))


def test_given_sampler_and_collate_function_are_used():
    loader = build_detection_train_loader(
        RECORDS,
        mapper=None,
        sampler=TrainingSampler(12, shuffle=False),
        total_batch_size=3,
        aspect_ratio_grouping=False,
        collate_fn=lambda batch: [record["id"] for record in batch],
    )
    assert take(loader, 2) == [[0, 1, 2], [3, 4, 5]]


def test_processes_share_batch_and_stream(monkeypatch):
    from d2_structures import comm

    def stream(rank, world_size, total_batch_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
        loader = build_detection_train_loader(
            RECORDS,
            mapper=with_draws,
            total_batch_size=total_batch_size,
            aspect_ratio_grouping=False,
            seed=3,
        )
        return [sample for batch in take(loader, 6) for sample in batch]

    whole = stream(0, 1, 4)
    for rank in range(2):
        assert stream(rank, 2, 4) == whole[rank::2][:12]


@pytest.mark.parametrize("bad", [0, -2, 3])
def test_batch_must_divide_among_the_processes(bad, monkeypatch):
    from d2_structures import comm

    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=rf"divisible by the 2 processes, got {bad}"):
        build_detection_train_loader(RECORDS, mapper=None, total_batch_size=bad)


def test_grouping_needs_sizes():
    with pytest.raises(KeyError, match="aspect_ratio_grouping=False"):
        build_detection_train_loader([{"id": 1}], mapper=None, total_batch_size=1)


class Pictures(Dataset):
    """Elements that only reading tells anything of; notes where they were read."""

    def __init__(self, reads=None):
        self.reads = [] if reads is None else reads

    def __len__(self):
        return len(RECORDS)

    def __getitem__(self, index):
        self.reads.append((index, get_worker_info() is None))
        return dict(RECORDS[index])


class KnownSizes(Pictures):
    def get_height_and_width(self, index):
        return RECORDS[index]["height"], RECORDS[index]["width"]


def taken_apart(record):
    return {"id": record.pop("id"), "wide": record.pop("width") > 2}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unread_elements_are_grouped_once_the_workers_have_read_them(num_workers):
    dataset = Pictures()
    loader = build_detection_train_loader(
        dataset,
        mapper=taken_apart,
        total_batch_size=3,
        num_workers=num_workers,
        seed=4,
    )
    batches = take(loader, 12)
    assert all(len({element["wide"] for element in batch}) == 1 for batch in batches)
    listed = build_detection_train_loader(RECORDS, mapper=None, total_batch_size=3, seed=4)
    expected = [[record["id"] for record in batch] for batch in take(listed, 12)]
    assert [[element["id"] for element in batch] for batch in batches] == expected
    if num_workers:
        assert dataset.reads == []


@pytest.mark.parametrize("wrap", ["dataset", "subset", "concatenated"])
def test_datasets_that_know_sizes_are_grouped_before_anything_is_read(wrap):
    dataset = KnownSizes()
    whole = {
        "dataset": lambda: dataset,
        "subset": lambda: Subset(dataset, range(12)),
        "concatenated": lambda: ConcatDataset(
            [Subset(dataset, range(5)), Subset(dataset, range(5, 12))]
        ),
    }[wrap]()
    loader = build_detection_train_loader(whole, mapper=None, total_batch_size=3, seed=4)
    (batch,) = take(loader, 1)
    assert len(dataset.reads) == 3
    listed = build_detection_train_loader(RECORDS, mapper=None, total_batch_size=3, seed=4)
    assert batch == take(listed, 1)[0]


def test_settings_of_worker_processes_reach_them():
    for build in (
        lambda **k: build_detection_train_loader(RECORDS, mapper=None, total_batch_size=2, **k),
        lambda **k: build_detection_test_loader(RECORDS, mapper=None, **k),
    ):
        loader = build(num_workers=1, persistent_workers=True, prefetch_factor=3)
        assert (loader.persistent_workers, loader.prefetch_factor) == (True, 3)
        assert build(pin_memory=True).pin_memory
        with pytest.raises(ValueError, match="about worker processes, but num_workers is 0"):
            build(prefetch_factor=3)
        with pytest.raises(ValueError, match="persistent_workers=True"):
            build(persistent_workers=True)


def test_persistent_workers_give_the_same_batches_each_time():
    loader = build_detection_train_loader(
        RECORDS,
        mapper=with_draws,
        total_batch_size=2,
        num_workers=2,
        persistent_workers=True,
        seed=5,
    )
    assert take(loader, 6) == take(loader, 6)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        build_detection_train_loader(RECORDS, mapper=None, total_batch_size=2, seed=-1)


class Stream(IterableDataset):
    def __iter__(self):
        yield from RECORDS


def test_iterable_dataset_is_taken_as_it_comes():
    def drop_odd(record):
        return None if record["id"] % 2 else record

    plain = build_detection_train_loader(
        Stream(), mapper=drop_odd, total_batch_size=2, aspect_ratio_grouping=False
    )
    assert [[r["id"] for r in batch] for batch in plain] == [[0, 2], [4, 6], [8, 10]]
    grouped = build_detection_train_loader(Stream(), mapper=None, total_batch_size=2)
    assert [r["id"] for r in next(iter(grouped))] == [0, 1]
    test = build_detection_test_loader(Stream(), mapper=drop_odd, batch_size=4)
    assert [[r["id"] for r in batch] for batch in test] == [[0, 2, 4, 6], [8, 10]]
    for build in (
        lambda **k: build_detection_train_loader(Stream(), mapper=None, total_batch_size=1, **k),
        lambda **k: build_detection_test_loader(Stream(), mapper=None, **k),
    ):
        with pytest.raises(ValueError, match="sampler must be None"):
            build(sampler=TrainingSampler(3, seed=0))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_gives_each_sample_once_in_order(num_workers):
    loader = build_detection_test_loader(
        RECORDS, mapper=itemgetter("id"), batch_size=5, num_workers=num_workers
    )
    assert list(loader) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert len(loader) == 3


def test_test_loader_takes_datasets_and_the_default_batch_is_one():
    dataset = MapDataset(RECORDS, lambda record: record["id"])
    assert list(build_detection_test_loader(dataset, mapper=None)) == [[i] for i in range(12)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_image_stops_training_with_its_name(tmp_path, num_workers):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "damaged.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    mapper = DatasetMapper(True, augmentations=[T.RandomFlip()], image_format="BGR")
    loader = build_detection_train_loader(
        [{"file_name": str(path), "width": 64, "height": 64, "annotations": []}],
        mapper=mapper,
        total_batch_size=1,
        num_workers=num_workers,
    )
    with pytest.raises(OSError, match=r"damaged\.jpg' cannot be decoded"):
        next(iter(loader))
