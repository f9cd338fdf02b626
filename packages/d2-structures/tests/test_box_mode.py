import ast
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from d2_structures import BoxMode

AXIS_ALIGNED = [mode for mode in BoxMode if mode != BoxMode.XYWHA_ABS]
SIZE = (480, 640)

box = st.tuples(*[st.floats(-100, 700) for _ in range(2)], *[st.floats(0, 500) for _ in range(2)])


@given(box, st.sampled_from(AXIS_ALIGNED), st.sampled_from(list(BoxMode)))
def test_there_and_back_gives_the_box(xywh, first, second):
    start = BoxMode.convert(xywh, BoxMode.XYWH_ABS, first, image_size=SIZE)
    there = BoxMode.convert(start, first, second, image_size=SIZE)
    back = BoxMode.convert(there, second, first, image_size=SIZE)
    assert back == pytest.approx(start, abs=1e-9)


@given(box, st.sampled_from(list(BoxMode)), st.sampled_from(list(BoxMode)))
def test_all_containers_agree(xywh, first, second):
    start = BoxMode.convert(xywh, BoxMode.XYWH_ABS, first, image_size=SIZE)
    expected = BoxMode.convert(start, first, second, image_size=SIZE)
    for kind in (list, np.array, lambda b: torch.tensor(b, dtype=torch.float64)):
        converted = BoxMode.convert(kind(start), first, second, image_size=SIZE)
        assert type(converted) is type(kind(start))
        assert list(map(float, converted)) == pytest.approx(list(expected), abs=1e-9)


def test_values_agree_with_the_original_system(golden):
    for modes, (given_boxes, expected) in golden["box_mode"].items():
        if isinstance(expected, torch.Tensor):
            source, target = (BoxMode[name] for name in ast.literal_eval(modes))
            assert_close(BoxMode.convert(given_boxes, source, target), expected)


def test_a_rotated_box_becomes_the_smallest_box_around_it():
    converted = BoxMode.convert([5, 3, 4, 2, 90], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    assert converted == pytest.approx([4, 1, 6, 5])


def test_whole_numbers_stay_whole_where_they_can():
    assert BoxMode.convert([1, 2, 3, 4], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) == [1, 2, 4, 6]
    whole = torch.tensor([[1, 2, 3, 4]])
    assert BoxMode.convert(whole, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS).dtype == torch.int64
    rotated = BoxMode.convert(whole, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
    assert rotated.tolist() == [[2.5, 4, 3, 4, 0]]
    assert BoxMode.convert(whole.numpy(), BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)[0, 0] == 2.5


def test_lists_of_boxes_and_empty_matrices_convert():
    rows = [[0, 0, 1, 1], (2, 2, 3, 3)]
    assert BoxMode.convert(rows, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS) == [[0, 0, 1, 1], [2, 2, 1, 1]]
    for empty in (np.zeros((0, 4)), torch.zeros(0, 4)):
        assert BoxMode.convert(empty, BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS).shape == (0, 5)


def test_the_input_is_never_written_to():
    array = np.array([[1.0, 2.0, 3.0, 4.0]])
    BoxMode.convert(array, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert array.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("bad", "mode", "message"),
    [
        ([1, 2, 3], BoxMode.XYWH_ABS, "have 4 numbers"),
        ([1, 2, 3, 4, 5], BoxMode.XYXY_ABS, r"got shape \(5,\)"),
        (np.zeros((2, 4)), BoxMode.XYWHA_ABS, "XYWHA_ABS have 5"),
        (torch.zeros(2, 3, 5), BoxMode.XYXY_REL, r"\(2, 3, 5\)"),
    ],
)
def test_a_wrong_last_dimension_is_named(bad, mode, message):
    target = BoxMode.XYWH_REL if mode == BoxMode.XYXY_REL else BoxMode.XYXY_ABS
    target = BoxMode.XYWH_ABS if mode == BoxMode.XYXY_ABS else target
    with pytest.raises(ValueError, match=message):
        BoxMode.convert(bad, mode, target)


def test_pixels_and_fractions_need_the_image_size():
    with pytest.raises(ValueError, match="needs image_size"):
        BoxMode.convert([1, 2, 3, 4], BoxMode.XYXY_ABS, BoxMode.XYXY_REL)
    with pytest.raises(ValueError, match="positive"):
        BoxMode.convert([1, 2, 3, 4], BoxMode.XYXY_ABS, BoxMode.XYXY_REL, image_size=(0, 5))


def test_other_kinds_of_box_are_refused():
    with pytest.raises(TypeError, match="got str"):
        BoxMode.convert("box", BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    with pytest.raises(ValueError, match="9"):
        BoxMode.convert([1, 2, 3, 4], 9, BoxMode.XYWH_ABS)


def test_modes_are_the_integers_of_dataset_files():
    assert json.dumps([*BoxMode]) == "[0, 1, 2, 3, 4]"
