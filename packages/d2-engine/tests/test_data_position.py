"""A stream of batches continues where it was left."""

import itertools

import pytest
from torch.utils.data import DataLoader, Dataset, IterableDataset

from d2_data import build_detection_train_loader
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


def records(count):
    return [{"number": i, "width": 1 + i % 3, "height": 2} for i in range(count)]


def numbers_of(loader, count):
    return [[r["number"] for r in batch] for batch in itertools.islice(loader, count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_with_a_state_is_handed_it(workers):
    def make():
        return build_detection_train_loader(
            records(20), mapper=None, total_batch_size=3, num_workers=workers, seed=5
        )

    whole, saving = numbers_of(make(), 9), make()
    numbers_of(saving, 4)
    loader = make()
    assert starting_at(loader, 4, saving.state_dict()) is loader
    assert numbers_of(loader, 5) == whole[4:]
    # Checkpoints without it know the number of batches only.
    assert numbers_of(starting_at(make(), 4), 5) == whole[4:]


def test_any_loader_that_can_be_restored_is():
    class Restorable:
        def load_state_dict(self, state):
            self.at = state["at"]

        def __iter__(self):
            return iter(range(self.at, 9))

    assert next(iter(starting_at(Restorable(), 3, {"at": 6}))) == 6
