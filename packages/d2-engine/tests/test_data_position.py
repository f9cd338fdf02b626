"""A stream of batches continues where it was left."""

import itertools

import pytest
from torch.utils.data import DataLoader, Dataset, IterableDataset

from d2_engine.data_position import starting_at


class Numbers(Dataset):
    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.read.append(index)
        return index


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(20))


def as_list(batch):
    return batch


def test_batches_of_a_loader_continue_without_reading_the_skipped_ones():
    loader = DataLoader(Numbers(), batch_size=3, shuffle=False, collate_fn=as_list)
    everything = list(loader)
    loader.dataset.read.clear()
    assert list(starting_at(loader, 4)) == everything[4:]
    assert loader.dataset.read == list(range(12, 20))


@pytest.mark.parametrize("workers", [0, 2])
def test_settings_of_the_loader_are_kept(workers):
    loader = DataLoader(Numbers(), batch_size=2, num_workers=workers, collate_fn=as_list)
    rest = starting_at(loader, 1)
    assert rest.num_workers == workers
    assert next(iter(rest)) == [2, 3]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Stream(), batch_size=4, collate_fn=as_list),
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
    ],
)
def test_other_streams_are_read_up_to_the_position(loader, caplog):
    assert next(iter(starting_at(loader, 2))) == [8, 9, 10, 11]
    assert "Reading 2 batches" in caplog.text


def test_the_beginning_is_the_loader_itself():
    loader = itertools.repeat(1)
    assert starting_at(loader, 0) is loader
