import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from d2_structures import (
    Boxes,
    BoxMode,
    Instances,
    RotatedBoxes,
    pairwise_iou,
    pairwise_iou_rotated,
)

coordinate = st.integers(-400, 1200).map(lambda eighths: eighths / 8)
side = st.integers(1, 800).map(lambda eighths: eighths / 8)
angle = st.integers(-7200, 7200).map(lambda tenths: tenths / 10)


@st.composite
def rotated_boxes(draw, max_size=6):
    row = st.tuples(coordinate, coordinate, side, side, angle)
    rows = draw(st.lists(row, max_size=max_size))
    return RotatedBoxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 5))


def corners(some):
    """(N, 4, 2) by the documented rotation, in float64, from the upper left one clockwise."""
    x, y, width, height, degrees = some.tensor.double().unsqueeze(2).unbind(1)
    u = torch.tensor([-0.5, 0.5, 0.5, -0.5]) * width
    v = torch.tensor([-0.5, -0.5, 0.5, 0.5]) * height
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    return torch.stack((sin * v + cos * u + x, cos * v - sin * u + y), dim=2)


def one(*numbers):
    return RotatedBoxes([list(numbers)])


def test_values_agree_with_the_original_system(golden):
    values = golden["rotated_boxes"]
    some = RotatedBoxes(values["b"])
    assert_close(some.area(), values["area"])
    assert_close(some.get_centers(), values["centers"])
    assert torch.equal(some.nonempty(), values["nonempty"])
    # The reference does not tell its image's size; this one explains all of its answers.
    assert torch.equal(some.inside_box((205, 240)), values["inside"])
    for change, expected in (
        (lambda boxes: boxes.normalize_angles(), values["norm"]),
        (lambda boxes: boxes.clip((205, 240)), values["clip"]),
        (lambda boxes: boxes.scale(0.5, 0.7), values["scale"]),
    ):
        boxes = some.clone()
        change(boxes)
        assert_close(boxes.tensor, expected, rtol=1e-5, atol=5e-5)
    pairs = golden["pairwise_iou_rotated"]
    iou = pairwise_iou_rotated(RotatedBoxes(pairs["boxes1"]), RotatedBoxes(pairs["boxes2"]))
    assert_close(iou, pairs["structures"], rtol=0, atol=5e-5)


@given(rotated_boxes())
def test_whole_turns_are_taken_off_and_nothing_else_changes(some):
    before = corners(some)
    rest = some.tensor[:, :4]
    some.normalize_angles()
    assert torch.equal(some.tensor[:, :4], rest)
    assert ((some.tensor[:, 4] >= -180) & (some.tensor[:, 4] < 180)).all()
    assert_close(corners(some), before, rtol=0, atol=1e-2)


@given(rotated_boxes())
def test_inside_means_that_all_corners_are(some):
    height, width = 90, 120
    points = corners(some)
    margins = torch.cat((points, torch.tensor([width, height]) - points), dim=2).amin(dim=(1, 2))
    clear = margins.abs() > 1e-3
    assert torch.equal(some.inside_box((height, width))[clear], (margins >= 0)[clear])
    clear = (margins + 7).abs() > 1e-3
    assert torch.equal(some.inside_box((height, width), 7)[clear], (margins >= -7)[clear])


@given(rotated_boxes())
def test_upright_boxes_are_clipped_like_boxes_and_turned_ones_are_not(some):
    before = some.clone()
    before.normalize_angles()
    upright = before.tensor[:, 4].abs() <= 1
    some.clip((60, 80))
    assert torch.equal(some.tensor[~upright], before.tensor[~upright])
    low, high = before.tensor[:, :2], before.tensor[:, 2:4]
    plain = Boxes(torch.cat((low - high / 2, low + high / 2), dim=1)[upright])
    plain.clip((60, 80))
    centers, sides = some.tensor[upright, :2], some.tensor[upright, 2:4]
    assert_close(torch.cat((centers - sides / 2, centers + sides / 2), dim=1), plain.tensor)
    assert torch.equal(some.tensor[:, 4], before.tensor[:, 4])


def test_clipping_counts_whole_turns_and_takes_the_threshold():
    some = RotatedBoxes([[5, 5, 20, 4, 360.5], [5, 5, 20, 4, -3], [5, 5, 20, 4, 180]])
    some.clip((10, 10))
    assert some.tensor[:, 2].tolist() == [10, 20, 20]
    some.clip((10, 10), clip_angle_threshold=3)
    assert some.tensor[:, 2].tolist() == [10, 10, 20]


@given(rotated_boxes(), st.floats(0.25, 4), st.floats(0.25, 4))
def test_scaled_sides_are_as_long_as_the_scaled_edges(some, scale_x, scale_y):
    points = corners(some) * torch.tensor([scale_x, scale_y])
    centers = some.get_centers() * torch.tensor([scale_x, scale_y])
    some.scale(scale_x, scale_y)
    edges = (points - points.roll(1, dims=1)).norm(dim=2)
    assert_close(some.tensor[:, 2].double(), edges[:, 1], rtol=1e-4, atol=1e-4)
    assert_close(some.tensor[:, 3].double(), edges[:, 2], rtol=1e-4, atol=1e-4)
    assert_close(some.get_centers(), centers)


@given(rotated_boxes(), st.floats(0.25, 4))
def test_equal_scaling_moves_every_corner_with_the_image(some, factor):
    points = corners(some) * factor
    some.scale(factor, factor)
    assert_close(corners(some), points, rtol=1e-3, atol=2e-2)


@given(rotated_boxes(), rotated_boxes())
def test_overlap_of_boxes_turned_by_quarters_is_that_of_the_boxes_around_them(first, second):
    for some in (first, second):
        some.tensor[:, 4] = (some.tensor[:, 4] / 90).round() * 90
    around = [
        Boxes(torch.cat((corners(some).amin(dim=1), corners(some).amax(dim=1)), dim=1).float())
        for some in (first, second)
    ]
    assert_close(pairwise_iou_rotated(first, second), pairwise_iou(*around), rtol=0, atol=1e-4)


@given(rotated_boxes(), angle, coordinate, coordinate)
def test_overlap_stays_when_everything_is_turned_and_moved(some, turn, x, y):
    before = pairwise_iou_rotated(some, some)
    assert_close(before.diagonal(), torch.ones(len(some)))
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    centers = some.get_centers() @ torch.tensor([[cos, -sin], [sin, cos]]) + torch.tensor([x, y])
    moved = RotatedBoxes(torch.cat((centers, some.tensor[:, 2:4], some.tensor[:, 4:] + turn), 1))
    # float32 coordinates are rounded to 2e-5 here, and sides begin at an eighth of a pixel
    assert_close(pairwise_iou_rotated(moved, moved), before, rtol=0, atol=4e-3)


def test_the_documented_example_turns_counter_clockwise():
    a, b, c, d = corners(one(5, 3, 4, 2, 90))[0].round().tolist()
    assert (a, b, c, d) == ([4, 5], [4, 1], [6, 1], [6, 5])
    assert pairwise_iou_rotated(one(5, 3, 4, 2, 90), one(5, 3, 4, 2, -90)).item() == 1
    assert pairwise_iou_rotated(one(5, 3, 4, 2, 90), one(5, 3, 2, 4, 0)).item() == 1
    assert one(5, 3, 4, 2, 90).inside_box((5, 6)).item()
    assert not one(5, 3, 4, 2, 0).inside_box((5, 6)).item()


def test_box_mode_and_rotated_boxes_agree_on_upright_boxes():
    upright = BoxMode.convert(torch.tensor([[3.0, 2, 7, 4]]), BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS)
    assert RotatedBoxes(upright).tensor.tolist() == [[5, 3, 4, 2, 0]]


def test_nonempty_needs_both_sides_longer_than_the_threshold():
    some = RotatedBoxes([[0, 0, 5, 5, 9], [0, 0, 0, 5, 9], [0, 0, 5, 2, 9]])
    assert some.nonempty().tolist() == [True, False, True]
    assert some.nonempty(2).tolist() == [True, False, False]


def test_changes_leave_the_given_tensor_alone():
    tensor = torch.tensor([[1.0, 2, 30, 40, 360]])
    some = RotatedBoxes(tensor)
    assert some.tensor is tensor
    some.clip((10, 10))
    some.scale(2, 2)
    some.normalize_angles()
    assert tensor.tolist() == [[1, 2, 30, 40, 360]]


@pytest.mark.parametrize("index", [1, -1, slice(0, 2), [0, 2], torch.tensor([True, False, True])])
def test_indexing_selects_rows_and_keeps_the_type(index):
    some = RotatedBoxes(torch.arange(15.0).view(3, 5))
    assert type(some[index]) is RotatedBoxes
    assert torch.equal(some[index].tensor, some.tensor[index].view(-1, 5))


def test_rows_are_not_taken_apart_and_iteration_yields_them():
    some = RotatedBoxes(torch.arange(15.0).view(3, 5))
    with pytest.raises(ValueError, match="boxes can be indexed"):
        some[0, 1]
    assert [row.tolist() for row in some] == some.tensor.tolist()


@pytest.mark.parametrize("empty", [torch.zeros(0), torch.zeros(0, 5), [], torch.zeros(0, 4)])
def test_nothing_gives_zero_boxes_and_everything_works_on_them(empty):
    some = RotatedBoxes(empty)
    assert some.tensor.shape == (0, 5)
    some.clip((3, 3))
    some.scale(2, 2)
    some.normalize_angles()
    assert len(some) == len(some.area()) == len(some.inside_box((3, 3))) == len(list(some)) == 0
    assert len(RotatedBoxes.cat([])) == len(RotatedBoxes.cat([some, some])) == 0
    assert pairwise_iou_rotated(some, one(0, 0, 1, 1, 0)).shape == (0, 1)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.zeros(3, 4), ValueError, r"RotatedBoxes needs shape \(N, 5\), got \[3, 4\]"),
        (torch.zeros(2, 5, dtype=torch.bool), TypeError, "torch.bool"),
        ([[0, 0, 1, 1, float("nan")]], ValueError, "row 0"),
        (np.array([[0, 0, 1, 1, np.inf]]), ValueError, "NaN or infinity"),
    ],
)
def test_bad_data_is_refused_with_what_came(data, error, message):
    with pytest.raises(error, match=message):
        RotatedBoxes(data)


def test_clipping_names_the_box_that_is_not_finite():
    some = RotatedBoxes(torch.tensor([[0.0, 0, 1, 1, 0], [0, 0, 1, 1, float("inf")]]))
    with pytest.raises(ValueError, match="RotatedBoxes holds NaN or infinity: row 1"):
        some.clip((5, 5))


def test_cat_joins_in_order_and_refuses_boxes_that_are_not_rotated():
    joined = RotatedBoxes.cat([one(0, 0, 1, 1, 5), one(1, 1, 1, 1, 6)])
    assert type(joined) is RotatedBoxes
    assert joined.tensor[:, 4].tolist() == [5, 6]
    with pytest.raises(TypeError, match="list of RotatedBoxes, got Boxes at position 1"):
        RotatedBoxes.cat([joined, Boxes(torch.zeros(1, 4))])


def test_copies_and_pickles_keep_type_and_values():
    some = one(1, 2, 3, 4, 5)
    twins = (pickle.loads(pickle.dumps(some)), copy.deepcopy(some), some.clone(), some.to("cpu"))
    for twin in twins:
        assert type(twin) is RotatedBoxes
        assert torch.equal(twin.tensor, some.tensor)
    assert np.asarray(some).tolist() == [[1, 2, 3, 4, 5]]
    assert repr(some) == "RotatedBoxes(tensor([[1., 2., 3., 4., 5.]]))"
    assert some.device == torch.device("cpu")


def test_instances_select_and_join_rotated_boxes():
    instances = Instances((10, 10), pred_boxes=RotatedBoxes(torch.arange(15.0).view(3, 5)))
    joined = Instances.cat([instances[1:], instances[:1]])
    assert type(joined.pred_boxes) is RotatedBoxes
    assert joined.pred_boxes.tensor[:, 0].tolist() == [5, 10, 0]


def test_gradients_reach_the_given_tensor():
    tensor = torch.tensor([[0.0, 0.0, 2.0, 3.0, 30.0]], requires_grad=True)
    some = RotatedBoxes(tensor)
    some.scale(2, 2)
    some.area().sum().backward()
    assert_close(tensor.grad, torch.tensor([[0.0, 0, 12, 8, 0]]), rtol=1e-5, atol=1e-5)
