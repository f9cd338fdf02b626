"""Records as bytes: small, and equal when they come back."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.packed_records import RecordPacker, unpack
from d2_structures import BoxMode

MODEST = settings(max_examples=60, deadline=None)

HUNDREDTHS = st.integers(-(10**6), 10**6).map(lambda number: number / 100)
NUMBERS = st.one_of(
    HUNDREDTHS,
    st.integers(0, 65535).map(lambda number: number / 100),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False),
)
LISTS = st.lists(NUMBERS, max_size=8)
SEGMENTATIONS = st.one_of(
    st.lists(LISTS, max_size=3),
    st.just({"size": [4, 5], "counts": b"abc"}),
    st.none(),
)
ANNOTATIONS = st.fixed_dictionaries(
    {
        "bbox": st.lists(NUMBERS, min_size=4, max_size=5),
        "bbox_mode": st.sampled_from(list(BoxMode)),
        "category_id": st.integers(0, 3),
        "iscrowd": st.integers(0, 1),
    },
    optional={"segmentation": SEGMENTATIONS, "keypoints": LISTS, "note": st.text(max_size=3)},
)
RECORDS = st.one_of(
    st.fixed_dictionaries(
        {"file_name": st.text(max_size=5), "annotations": st.lists(ANNOTATIONS, max_size=4)}
    ),
    st.fixed_dictionaries({"file_name": st.text(max_size=5)}),
    st.integers(),
    st.fixed_dictionaries({"annotations": st.sampled_from([None, "none", (), [1, 2], [{}]])}),
)


def there_and_back(records):
    packer = RecordPacker()
    packed = list(packer.pack(records))
    return [unpack(*parts, packer.templates) for parts in packed], packed


def coco_record(index, size=640):
    draw = np.random.default_rng(index)

    def numbers(count):
        return np.round(draw.uniform(0, size, count), 2).tolist()

    annotations = [
        {
            "iscrowd": 0,
            "bbox": numbers(4),
            "category_id": 3,
            "segmentation": [numbers(44)],
            "bbox_mode": BoxMode.XYWH_ABS,
        }
        for _ in range(1 + index % 5)
    ]
    return {"file_name": f"{index}.jpg", "width": 9, "annotations": annotations}


@MODEST
@given(st.lists(RECORDS, max_size=6))
def test_records_come_back_equal(records):
    assert there_and_back(records)[0] == records


@MODEST
@given(st.lists(RECORDS, max_size=6))
def test_fields_come_back_in_their_order(records):
    def orders(element):
        if isinstance(element, dict):
            return [list(element), *map(orders, element.values())]
        return list(map(orders, element)) if isinstance(element, list) else []

    for record, restored in zip(records, there_and_back(records)[0], strict=True):
        annotations = record.get("annotations") if isinstance(record, dict) else None
        fields = [list(a) for a in annotations or () if isinstance(a, dict)]
        if all(one == fields[0] for one in fields):
            assert orders(restored) == orders(record)


def test_coordinates_of_coco_take_two_bytes_each():
    records = [coco_record(i) for i in range(100)]
    restored, packed = there_and_back(records)
    assert restored == records
    coordinates = sum(len(numbers) for _, numbers in packed)
    assert coordinates == sum(len(record["annotations"]) * (4 + 44) * 2 for record in records)
    size = coordinates + sum(len(rest) for rest, _ in packed)
    assert size < len(pickle.dumps(records, protocol=5)) / 3


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1e300, 0.1 + 0.2, 1 / 3, -0.01, 655.36, 2**53 + 1.0]
)
def test_numbers_that_are_no_hundredths_are_kept_as_they_are(value):
    record = coco_record(1)
    record["annotations"][0]["bbox"][2] = value
    (restored,), _ = there_and_back([record])
    found = restored["annotations"][0]["bbox"][2]
    assert found == value or (np.isnan(found) and np.isnan(value))


def test_numbers_written_as_text_stay_text():
    record = coco_record(1)
    record["annotations"][0] = {**record["annotations"][0], "bbox": ["1", "2", "3", "4"]}
    assert there_and_back([coco_record(0), record])[0] == [coco_record(0), record]


def test_what_is_the_same_in_all_records_is_kept_once():
    packer = RecordPacker()
    for begin in range(0, 300, 100):
        list(packer.pack([coco_record(i) for i in range(begin, begin + 100)]))
    assert len(packer.templates) == 1


def test_restored_records_can_be_changed():
    packer = RecordPacker()
    parts = next(packer.pack([coco_record(4)]))
    first, second = (unpack(*parts, packer.templates) for _ in range(2))
    first["annotations"][0]["bbox"][0] = -1
    first["annotations"][1]["new"] = 1
    assert second == coco_record(4)


@pytest.mark.parametrize("odd", ["1", None, [2.0]])
def test_what_is_no_number_among_numbers_comes_back(odd):
    values = [[1.0, 2.0, 3.0, 4.0], [1.0, odd, 3.0, 4.0]]
    records = [{"annotations": [{"bbox": v, "category_id": 0} for v in values]}] * 2
    assert there_and_back(records)[0] == records
