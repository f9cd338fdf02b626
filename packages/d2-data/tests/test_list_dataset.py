import pickle

import pytest
from torch.utils.data import DataLoader

from d2_data.list_dataset import DatasetFromList

RECORDS = [{"file_name": f"{i}.jpg", "annotations": [{"bbox": [i, 0, 1, 1]}] * i} for i in range(5)]


@pytest.mark.parametrize("serialize", [True, False])
def test_elements_and_length_are_the_lists(serialize):
    dataset = DatasetFromList(RECORDS, serialize=serialize)
    assert len(dataset) == 5
    assert [dataset[i] for i in range(5)] == RECORDS
    assert dataset[-1] == RECORDS[-1]
    with pytest.raises(IndexError):
        dataset[5]


@pytest.mark.parametrize("serialize", [True, False])
def test_changing_an_element_leaves_the_list_alone(serialize):
    dataset = DatasetFromList(RECORDS, serialize=serialize)
    dataset[3]["annotations"][0]["bbox"][0] = 99
    assert dataset[3] == RECORDS[3]
    assert RECORDS[3]["annotations"][0]["bbox"][0] == 3


def test_without_copy_and_serialisation_the_elements_themselves_come():
    assert DatasetFromList(RECORDS, copy=False, serialize=False)[2] is RECORDS[2]


def test_serialised_dataset_does_not_follow_the_list():
    records = [{"a": 1}]
    dataset = DatasetFromList(records)
    records[0]["a"] = 2
    assert dataset[0] == {"a": 1}


def test_empty_list_is_a_dataset():
    assert len(DatasetFromList([])) == 0
    with pytest.raises(IndexError, match="out of range for 0 elements"):
        DatasetFromList([])[0]


def test_many_elements_lie_in_a_file_that_worker_processes_read():
    records = [{"id": i, "text": f"{i:08d}" * 40} for i in range(4000)]
    dataset = DatasetFromList(records)
    assert dataset.nbytes > 2**20
    assert DatasetFromList(records[:10]).nbytes < 2**20
    assert pickle.loads(pickle.dumps(dataset))[3999] == records[3999]
    loader = DataLoader(dataset, batch_size=None, sampler=range(0, 4000, 97), num_workers=2)
    assert list(loader) == records[::97]


def test_unserialised_elements_take_no_further_memory():
    assert DatasetFromList(RECORDS, serialize=False).nbytes == 0


def test_dataset_survives_pickling_and_worker_processes():
    dataset = DatasetFromList(RECORDS)
    assert pickle.loads(pickle.dumps(dataset))[4] == RECORDS[4]
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    assert list(loader) == RECORDS


def test_serialised_dataset_knows_which_pictures_are_wide():
    sizes = [(4, 3), (3, 4), (3, 3)]
    dataset = DatasetFromList([{"width": w, "height": h} for w, h in sizes])
    assert dataset.wide.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "elements", [[1, 2], ["ab"], [{"width": 3}], [{"width": None, "height": 3}], [None]]
)
def test_nothing_is_known_of_the_width_of_other_elements(elements):
    assert DatasetFromList(elements).wide is None
