import pytest

from d2_data import SharedStream, build_detection_test_loader, build_detection_train_loader

RECORDS = [
    {"file_name": f"{index}.jpg", "image_id": index, "width": 4, "height": 3} for index in range(7)
]


def refuse_odd(record):
    if record["image_id"] % 2:
        raise ValueError("odd")
    return record["image_id"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samples_that_cannot_be_loaded_are_replaced_in_training(num_workers):
    loader = build_detection_train_loader(
        RECORDS,
        mapper=refuse_odd,
        total_batch_size=4,
        on_error="skip",
        num_workers=num_workers,
        seed=0,
    )
    batches = iter(loader)
    loaded = [next(batches) for _ in range(4)]
    assert all(len(batch) == 4 for batch in loaded)
    assert not any(element % 2 for batch in loaded for element in batch)
    assert {entry.error for entry in loader.skipped} >= {
        "ValueError: image '1.jpg' (image_id 1): odd"
    }


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samples_that_cannot_be_loaded_are_left_out_in_evaluation(num_workers, caplog):
    loader = build_detection_test_loader(
        RECORDS, mapper=refuse_odd, batch_size=2, on_error="skip", num_workers=num_workers
    )
    assert list(loader) == [[0], [2], [4], [6]]
    assert sorted(entry.record for entry in loader.skipped) == [
        f"image '{index}.jpg' (image_id {index})" for index in (1, 3, 5)
    ]
    assert "3 records could not be loaded and were left out, e.g. image '" in caplog.text


def test_batches_of_nothing_are_left_out():
    loader = build_detection_test_loader(RECORDS, mapper=refuse_odd, on_error="skip")
    assert list(loader) == [[0], [2], [4], [6]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_elements_of_streams_that_cannot_be_loaded_are_left_out(num_workers):
    loader = build_detection_test_loader(
        SharedStream(RECORDS), mapper=refuse_odd, on_error="skip", num_workers=num_workers
    )
    assert sorted(element for batch in loader for element in batch) == [0, 2, 4, 6]
    assert len(loader.skipped) == 3


@pytest.mark.parametrize("build", [build_detection_train_loader, build_detection_test_loader])
@pytest.mark.parametrize("dataset", [RECORDS, SharedStream(RECORDS)])
def test_errors_are_raised_by_default_and_name_the_picture(build, dataset):
    arguments = {"total_batch_size": 7} if build is build_detection_train_loader else {}
    loader = build(dataset, mapper=refuse_odd, **arguments)
    with pytest.raises(ValueError, match=r"image '\d\.jpg' \(image_id \d\): odd"):
        list(loader)
    assert loader.skipped == []


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="on_error is 'raise' or 'skip', got 'ignore'"):
        build_detection_test_loader(RECORDS, mapper=refuse_odd, on_error="ignore")
