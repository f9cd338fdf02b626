import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_data.annotations import (
    normalized_segmentation,
    segmentation_area,
    segmentation_box,
)
from d2_ops.host import rle_decode, rle_encode

TRIANGLE = [2.0, 3.0, 12.0, 3.0, 12.0, 13.0]
POINTS = [[2.0, 3.0], [12.0, 3.0], [12.0, 13.0]]

coordinates = st.floats(-1e4, 1e4, width=32)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6).map(
    lambda points: [value for point in points for value in point]
)


def test_polygons_as_they_should_be_stay_the_same_object():
    value = [TRIANGLE, TRIANGLE[::-1]]
    assert normalized_segmentation(value) == (value, 0)
    assert normalized_segmentation(value)[0] is value


@pytest.mark.parametrize(
    "value",
    [
        TRIANGLE,
        tuple(TRIANGLE),
        (TRIANGLE,),
        POINTS,
        [POINTS],
        [[[TRIANGLE]]],
        [[POINTS]],
        np.array(TRIANGLE),
        [np.array(TRIANGLE, np.float32)],
        [np.array(POINTS)],
        np.array(POINTS),
        torch.tensor([TRIANGLE]),
        [[np.float64(value) for value in TRIANGLE]],
        [[torch.tensor(value) for value in TRIANGLE]],
    ],
)
def test_other_nestings_and_libraries_are_understood(value):
    assert normalized_segmentation(value) == ([TRIANGLE], 0)


@given(st.lists(polygons, min_size=1, max_size=4))
def test_points_and_flat_polygons_mean_the_same_whatever_their_number(outlines):
    points = [[[x, y] for x, y in zip(p[::2], p[1::2], strict=True)] for p in outlines]
    assert normalized_segmentation(points) == normalized_segmentation(outlines) == (outlines, 0)


@pytest.mark.parametrize("value", [[], [[]], [[], []]])
def test_no_polygons_are_no_segmentation(value):
    assert normalized_segmentation(value) == (None, 0)


def test_parts_that_are_no_areas_are_left_out_and_counted():
    parts = [[1, 2, 3, 4], [0] * 7, TRIANGLE, [5, 5]]
    assert normalized_segmentation(parts) == ([TRIANGLE], 3)
    assert normalized_segmentation([[1, 2, 3, 4]]) == (None, 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2, float("nan"), 4, 5, 6]], "NaN and infinity"),
        ([[1, 2, float("inf"), 4, 5, 6]], "NaN and infinity"),
        ([["1", "2", "3", "4", "5", "6"]], "written as text is not read"),
        ("[[1, 2, 3, 4, 5, 6]]", "'segmentation' of type str"),
        (3.5, "'segmentation' of type float"),
        ([TRIANGLE, None], "'segmentation' with None in it"),
        ([{"size": [2, 2], "counts": "04"}], "'segmentation' with .*size.* in it"),
        ([{"x": 1, "y": 2}] * 3, "'x': 1.* in it; .*points are written as their numbers"),
        ([[{"x": 1, "y": 2}] * 3], "'x': 1.* in it; .*points are written as their numbers"),
        ([[[[[[[TRIANGLE]]]]]]], "'segmentation' with"),
        (np.eye(4, dtype=bool), "that is a mask, got ndarray; encode a mask array by d2_ops"),
        (torch.eye(4), "that is a mask, got Tensor; encode"),
    ],
)
def test_what_cannot_be_understood_is_refused(value, message):
    with pytest.raises(ValueError, match=rf"^has .*{message}"):
        normalized_segmentation(value)


def test_plain_run_lengths_are_compressed():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:5] = True
    lengths = {"size": (4, 5), "counts": [9, 2, 2, 2, 2, 2, 1]}
    read, invalid = normalized_segmentation(lengths, (4, 5))
    assert invalid == 0
    assert read["size"] == [4, 5]
    assert isinstance(read["counts"], bytes)
    np.testing.assert_array_equal(rle_decode(read), mask)
    as_arrays = {"size": np.array([4, 5]), "counts": np.array(lengths["counts"])}
    assert normalized_segmentation(as_arrays) == (read, 0)


@pytest.mark.parametrize("as_text", [True, False])
def test_compressed_run_lengths_stay_the_same_object(as_text):
    value = dict(rle_encode(np.eye(4)))
    if as_text:
        value["counts"] = value["counts"].decode()
    assert normalized_segmentation(value, (4, 4))[0] is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"size": [0, 4], "counts": "04"}, r"mask of the size \[0, 4\]; wanted .* positive"),
        ({"size": [-4, 4], "counts": "04"}, "positive integers"),
        ({"size": [4], "counts": "04"}, "positive integers"),
        ({"size": ["4", 4], "counts": "04"}, "positive integers"),
        ({"size": [2.5, 4], "counts": "04"}, "positive integers"),
        ({"size": [10**12, 10**12], "counts": "04"}, "but its image has 4x5"),
        ({"size": [5, 4], "counts": "04"}, "height and width are exchanged"),
        ({"size": [4, 5]}, "object without 'counts': it has"),
        ({"size": [4, 5], "counts": None}, "object without 'counts'"),
        ({"all_points_x": [1], "all_points_y": [2]}, "object without 'size' and 'counts'"),
        ({"size": [4, 5], "counts": [3]}, "add up to 3 for a mask of 4x5 = 20 pixels"),
        ({"size": [4, 5], "counts": [-3, 23]}, "wanted whole numbers from 0"),
        ({"size": [4, 5], "counts": [1.5, 18.5]}, "wanted whole numbers from 0"),
        ({"size": [4, 5], "counts": ["20"]}, "written as text is not read"),
        ({"size": [4, 5], "counts": 20}, "'counts' 20"),
    ],
)
def test_run_lengths_that_cannot_be_are_refused(value, message):
    with pytest.raises(ValueError, match=rf"^has .*{message}"):
        normalized_segmentation(value, (4, 5))


@given(st.lists(polygons, min_size=1, max_size=3))
def test_box_of_polygons_is_tight(outlines):
    x, y, width, height = segmentation_box(outlines)
    xs = [value for outline in outlines for value in outline[::2]]
    ys = [value for outline in outlines for value in outline[1::2]]
    assert (x, y) == (min(xs), min(ys))
    assert (width, height) == (max(xs) - x, max(ys) - y)


def test_box_and_area_of_run_lengths_are_those_of_the_pixels():
    mask = np.zeros((20, 30), bool)
    mask[4:9, 10:25] = True
    rle = rle_encode(mask)
    assert segmentation_box(rle) == [10, 4, 15, 5]
    assert segmentation_area(rle, None) == 75


def test_area_of_polygons_is_that_of_their_union_in_the_image():
    square = [2, 3, 12, 3, 12, 13, 2, 13]
    assert segmentation_area([square, square], (20, 30)) == 100
    assert segmentation_area([square], (8, 30)) == 50
    assert segmentation_area([square], None) is None
