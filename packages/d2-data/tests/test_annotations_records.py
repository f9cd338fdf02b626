import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_data.annotations import normalized_annotations, normalized_record
from d2_structures import BoxMode


def annotation(**changes):
    return {
        "bbox": [2.0, 3.0, 10.0, 10.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 4,
        **changes,
    }


def record(*annotations, **changes):
    return {
        "file_name": "a.jpg",
        "height": 20,
        "width": 30,
        "image_id": 7,
        "annotations": list(annotations),
        **changes,
    }


def test_valid_record_is_the_same_object():
    valid = record(annotation(), annotation(category_id=2))
    before = copy.deepcopy(valid)
    assert normalized_record(valid) is valid
    assert valid == before


def test_record_without_annotations_stays():
    plain = {"file_name": "a.jpg", "sem_seg_file_name": "a.png"}
    assert normalized_record(plain) is plain


@given(st.lists(st.sampled_from([None, "array", "mode", "crowd"]), max_size=8))
def test_order_is_kept_and_a_second_pass_changes_nothing(kinds):
    changes = {
        None: {},
        "array": {"bbox": np.array([2.0, 3.0, 10.0, 10.0])},
        "mode": {"bbox_mode": 1},
        "crowd": {"iscrowd": None},
    }
    given_record = record(*(annotation(category_id=i, **changes[k]) for i, k in enumerate(kinds)))
    normal = normalized_record(given_record)
    assert [a["category_id"] for a in normal["annotations"]] == list(range(len(kinds)))
    assert normal["annotations"] == [annotation(category_id=i) for i in range(len(kinds))]
    assert normalized_record(normal) is normal


@pytest.mark.parametrize("kind", [np.int64, torch.tensor, float])
def test_sizes_and_ids_of_other_libraries_become_numbers(kind):
    normal = normalized_record(record(height=kind(20), width=kind(30), image_id=kind(7)))
    assert normal == record()
    assert type(normal["height"]) is type(normal["width"]) is int


def test_null_fields_are_absent():
    assert normalized_record(record(annotations=None, height=None)) == {
        "file_name": "a.jpg",
        "width": 30,
        "image_id": 7,
    }


def test_tuple_of_annotations_is_a_list():
    assert normalized_record(record(annotations=(annotation(),))) == record(annotation())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            record(annotation(), annotation(bbox=["1"] * 4)),
            r"image 'a\.jpg' \(image_id 7\): annotation 1 of 2 has 'bbox'",
        ),
        (
            record(annotation(id=33, segmentation="x")),
            r"annotation 0 \(id 33\) of 1 has a 'segmentation' of type str",
        ),
        (record(height="20"), r"image 'a\.jpg' \(image_id 7\) has 'height' '20'"),
        (record(annotations={"bbox": 3}), "has 'annotations' .*; wanted a list"),
        (record(annotations=["x"]), "annotation 0 of 1 is 'x'"),
        (record(annotation(segmentation={"size": [30, 20], "counts": "0h"})), "are exchanged"),
        ([1], "wanted a dict in the standard dataset format"),
    ],
)
def test_errors_name_picture_and_annotation(bad, message):
    with pytest.raises(ValueError, match=message):
        normalized_record(bad)


def test_list_that_needs_no_change_is_the_same_object():
    annotations = [annotation()]
    assert normalized_annotations(annotations, (20, 30)) is annotations
