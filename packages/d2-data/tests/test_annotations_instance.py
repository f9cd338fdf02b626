import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_data.annotations import normalized_annotation
from d2_structures import BoxMode

SIZE = (20, 30)
TRIANGLE = [2.0, 3.0, 12.0, 3.0, 12.0, 13.0]


def annotation(**changes):
    return {
        "bbox": [2.0, 3.0, 10.0, 10.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 4,
        "segmentation": [TRIANGLE],
        "keypoints": [1.0, 2.0, 2, 0.0, 0.0, 0],
        "iscrowd": 0,
        **changes,
    }


numbers = st.integers(-50, 50) | st.floats(-1e3, 1e3)
polygons = st.lists(numbers, min_size=6, max_size=12).map(lambda p: p[: len(p) // 2 * 2])
valid = st.fixed_dictionaries(
    {
        "bbox": st.lists(numbers, min_size=4, max_size=4),
        "bbox_mode": st.sampled_from([BoxMode.XYXY_ABS, BoxMode.XYWH_ABS]),
        "category_id": st.integers(0, 99),
    },
    optional={
        "segmentation": st.lists(polygons, min_size=1, max_size=3),
        "keypoints": st.lists(numbers, min_size=1, max_size=4).map(lambda k: k * 3),
        "iscrowd": st.integers(0, 1),
        "note": st.text(),
    },
)


def disguised(value, disguise):
    """A valid field as it comes out of other hands."""
    if disguise == "array" and isinstance(value, list) and not isinstance(value[0], list):
        return np.array(value)
    if disguise == "tensor" and isinstance(value, list) and not isinstance(value[0], list):
        return torch.tensor(value, dtype=torch.float64)
    if disguise == "tuple" and isinstance(value, list):
        return tuple(value)
    if disguise == "scalar" and isinstance(value, int):
        return np.int64(value)
    return value


disguises = st.sampled_from(["array", "tensor", "tuple", "scalar", "none"])


@given(valid)
def test_valid_annotations_are_unchanged(entry):
    before = copy.deepcopy(entry)
    assert normalized_annotation(entry, SIZE) is entry
    assert entry == before


@given(valid, st.data())
def test_disguised_annotations_become_the_valid_ones_and_then_stay(entry, data):
    fields = {key: disguised(value, data.draw(disguises)) for key, value in entry.items()}
    absent = {key: None for key in ("segmentation", "keypoints", "iscrowd") if key not in entry}
    normal = normalized_annotation({**absent, **fields}, SIZE)
    assert normal == entry
    assert all(type(number) in (int, float) for number in normal["bbox"])
    assert normalized_annotation(normal, SIZE) is normal


def test_input_stays_as_it_is():
    entry = annotation(bbox=None, segmentation=[[[2, 3], [12, 3], [12, 13]]])
    before = copy.deepcopy(entry)
    normalized_annotation(entry, SIZE)
    assert entry == before


@pytest.mark.parametrize("nothing", [None, float("nan"), np.float64("nan")])
def test_null_and_nan_in_place_of_a_field_mean_absent(nothing):
    entry = annotation(segmentation=nothing, keypoints=nothing, iscrowd=nothing)
    assert sorted(normalized_annotation(entry, SIZE)) == ["bbox", "bbox_mode", "category_id"]


@pytest.mark.parametrize("empty", [[], None, np.zeros(0)])
def test_missing_box_is_that_of_the_polygons(empty):
    normal = normalized_annotation(annotation(bbox=empty, bbox_mode=BoxMode.XYXY_ABS), SIZE)
    assert normal["bbox"] == [2, 3, 10, 10]
    assert normal["bbox_mode"] is BoxMode.XYWH_ABS


def test_missing_box_is_that_of_the_mask():
    entry = annotation(segmentation={"size": list(SIZE), "counts": [43, 4, 16, 4, 533]})
    del entry["bbox"], entry["bbox_mode"]
    normal = normalized_annotation(entry, SIZE)
    assert normal["bbox"] == [2, 3, 2, 4]
    assert normal["bbox_mode"] is BoxMode.XYWH_ABS


def test_modes_are_members_of_the_enumeration():
    assert normalized_annotation(annotation(bbox_mode=0))["bbox_mode"] is BoxMode.XYXY_ABS
    assert normalized_annotation(annotation(bbox_mode=np.int64(1)))["bbox_mode"] is BoxMode.XYWH_ABS


def test_rotated_boxes_have_five_numbers():
    rotated = annotation(bbox=[5.0, 5.0, 4.0, 2.0, 30.0], bbox_mode=BoxMode.XYWHA_ABS)
    assert normalized_annotation(rotated) is rotated


def test_points_of_keypoints_become_one_flat_list():
    flat = [1.0, 2.0, 2.0, 3.0, 4.0, 1.0]
    for points in (np.reshape(flat, (2, 3)), [flat[:3], flat[3:]], torch.tensor(flat)):
        assert normalized_annotation(annotation(keypoints=points))["keypoints"] == flat
    assert "keypoints" not in normalized_annotation(annotation(keypoints=[]))


def test_truth_values_of_crowds_become_numbers():
    assert normalized_annotation(annotation(iscrowd=True))["iscrowd"] == 1
    assert type(normalized_annotation(annotation(iscrowd=np.bool_(False)))["iscrowd"]) is int


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"has 'bbox' \[1, 2, 3\]; wanted \[x, y, width, height\]"),
        ({"bbox": ["1", "2", "3", "4"]}, "has 'bbox' .*text is not read"),
        ({"bbox": "1, 2, 3, 4"}, "has 'bbox' .*text is not read"),
        ({"bbox": [1, 2, float("nan"), 4]}, "has 'bbox' .*NaN and infinity"),
        ({"bbox": np.array([1, 2, np.inf, 4])}, "has 'bbox' .*NaN and infinity"),
        ({"bbox": {"x": 1, "y": 2}}, r"has 'bbox' .*got an object with \['x', 'y'\]"),
        ({"bbox": [True, 2, 3, 4], "iscrowd": True}, "has 'bbox'"),
        ({"bbox": [1, 2, None, 4]}, "has 'bbox'"),
        ({"bbox": [1, 2, 3, 4, 5]}, "has a 'bbox' of 5 numbers in the mode XYWH_ABS, which has 4"),
        ({"bbox": None, "segmentation": []}, "has neither a 'bbox' nor a 'segmentation'"),
        ({"bbox": None, "segmentation": [[1, 2, 3, 4]]}, "has neither a 'bbox'"),
        ({"bbox_mode": None}, "lacks 'bbox_mode'"),
        ({"bbox_mode": "XYWH_ABS"}, "has 'bbox_mode' 'XYWH_ABS'; wanted one of"),
        ({"bbox_mode": 17}, "has 'bbox_mode' 17"),
        ({"category_id": None}, "lacks 'category_id'"),
        ({"category_id": "3"}, "has 'category_id' '3'.*text is not read"),
        ({"category_id": 2.5}, "has 'category_id' 2.5"),
        ({"iscrowd": "0"}, "has 'iscrowd' '0'; wanted 0 or 1.*text is not read"),
        ({"keypoints": [1, 2]}, "has 2 keypoint values; wanted triples"),
        ({"keypoints": [1, 2, float("nan")]}, "has 'keypoints'"),
        ({"keypoints": [[1, 2], [3, 4]]}, "has 'keypoints'"),
        ({"keypoints": ["1", 2, 2]}, "has 'keypoints'.*text is not read"),
    ],
)
def test_what_cannot_be_understood_is_refused(bad, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        normalized_annotation(annotation(**bad), SIZE)


def test_what_is_no_object_is_refused():
    with pytest.raises(ValueError, match=r"^is \[1, 2\]; wanted an object"):
        normalized_annotation([1, 2])
