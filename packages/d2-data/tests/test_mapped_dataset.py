import os
import signal

import pytest
from torch.utils.data import DataLoader

from d2_data.dataset_dicts import DatasetDicts
from d2_data.list_dataset import DatasetFromList
from d2_data.mapped_dataset import MapDataset, record_held_by


def test_elements_are_mapped_on_access():
    dataset = MapDataset([1, 2, 3], lambda element: element * 10)
    assert len(dataset) == 3
    assert [dataset[i] for i in range(3)] == [10, 20, 30]


def test_refused_element_is_replaced_with_a_warning_that_names_it(caplog):
    dataset = MapDataset(range(10), lambda element: element if element % 2 else None)
    replaced = dataset[4]
    assert replaced % 2 == 1
    assert "returned None for element 4" in caplog.text


def test_replacement_depends_on_the_index_alone():
    dataset = MapDataset(range(50), lambda element: element if element % 5 == 0 else None)
    first = [dataset[i] for i in range(50)]
    assert [dataset[i] for i in reversed(range(50))] == first[::-1]


def test_errors_of_the_function_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        MapDataset([0], lambda element: 1 / element)[0]


def test_function_that_refuses_everything_is_stopped():
    with pytest.raises(RuntimeError, match=r"None for 100 elements in turn, from index 1 on"):
        MapDataset([0, 1], lambda element: None)[1]


def test_map_wants_a_function():
    with pytest.raises(TypeError, match="wants a function"):
        MapDataset([], 3)


def picture(index):
    return {"file_name": f"{index}.jpg", "image_id": index}


RECORDS = DatasetDicts(["first", "second"], [list(map(picture, range(4))), [picture(4)]])


def refuse_odd(record):
    if record["image_id"] % 2:
        raise ValueError("odd")
    return record["image_id"]


def refuse_all(record):
    raise ValueError("bad")


@pytest.mark.parametrize("source", [RECORDS, DatasetFromList(RECORDS)])
def test_errors_name_dataset_and_picture(source):
    dataset = MapDataset(source, refuse_all)
    with pytest.raises(ValueError, match=r"^dataset 'first': image '3\.jpg' \(image_id 3\): bad$"):
        dataset[3]
    with pytest.raises(ValueError, match=r"^dataset 'second': image '4\.jpg' \(image_id 4\): bad$"):
        dataset[4]


def test_errors_of_other_elements_name_them():
    with pytest.raises(ValueError, match="^element 7: bad$"):
        MapDataset([7], refuse_all)[0]


def test_errors_in_a_worker_name_dataset_and_picture():
    loader = DataLoader(MapDataset(RECORDS, refuse_all), num_workers=1, batch_size=None)
    with pytest.raises(ValueError, match=r"dataset 'first': image '0\.jpg' \(image_id 0\): bad"):
        next(iter(loader))


def test_skipped_elements_are_replaced_and_listed(caplog):
    dataset = MapDataset(RECORDS, refuse_odd, on_error="skip")
    assert dataset[1] % 2 == 0
    assert dataset[2] == 2
    first, *_ = dataset.skipped
    assert first.record == "image '1.jpg' (image_id 1)"
    assert first.error == "ValueError: dataset 'first': image '1.jpg' (image_id 1): odd"
    assert "Skipped image '1.jpg'" in caplog.text


def test_elements_that_workers_skip_are_listed_here():
    dataset = MapDataset(RECORDS, refuse_odd, on_error="skip")
    loaded = list(DataLoader(dataset, num_workers=2, batch_size=None))
    assert len(loaded) == 5
    assert {"image '1.jpg' (image_id 1)", "image '3.jpg' (image_id 3)"} <= {
        entry.record for entry in dataset.skipped
    }


def test_nothing_is_listed_where_errors_are_raised():
    assert MapDataset(RECORDS, refuse_odd).skipped == []


def test_skipping_everything_ends_with_the_last_error():
    with pytest.raises(RuntimeError, match="failed on, 100 elements in turn") as caught:
        MapDataset(RECORDS, refuse_all, on_error="skip")[0]
    assert isinstance(caught.value.__cause__, ValueError)


def test_element_that_cannot_be_fetched_is_skipped_too():
    class Broken(list):
        def __getitem__(self, index):
            if index == 1:
                raise OSError("disk")
            return super().__getitem__(index)

    dataset = MapDataset(Broken([10, 11, 12]), lambda element: element, on_error="skip")
    assert dataset[1] in (10, 12)
    assert dataset.skipped[0].record == "element 1"


def die(record):
    if record["image_id"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return record["image_id"]


def test_record_that_a_dead_worker_held_is_known():
    dataset = MapDataset(RECORDS, die)
    loader = DataLoader(dataset, num_workers=1, batch_size=None)
    iterator = iter(loader)
    (worker,) = iterator._workers
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(iterator)
    assert dataset.held_by(worker.pid) == "image '2.jpg' (image_id 2), element 2"
    assert record_held_by(worker.pid) == "image '2.jpg' (image_id 2), element 2"
    assert dataset.held_by(worker.pid + 1) is None
    assert record_held_by(os.getpid()) is None


def test_other_words_for_what_to_do_are_refused():
    with pytest.raises(ValueError, match="MapDataset: on_error is 'raise' or 'skip'"):
        MapDataset([], len, on_error="ignore")
