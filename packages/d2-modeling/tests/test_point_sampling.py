"""Reading maps at points and choosing points, against loops over pixels in float64."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.events import EventStorage
from d2_modeling.point_rend import (
    generate_regular_grid_point_coords,
    get_point_coords_wrt_image,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    point_sample_fine_grained_features,
    roi_mask_point_loss,
    sample_point_labels,
)
from d2_modeling.point_rend.point_features import features_at, with_points
from d2_structures import BitMasks, Boxes, Instances

SEEDS = st.integers(0, 10**6)


def value_at(grid: list[list[float]], x: float, y: float) -> float:
    """Bilinear at (x, y) pixels, whose centres lie at halves; pixels outside are 0."""
    height, width = len(grid), len(grid[0])
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                weight = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
                total += weight * grid[row][column]
    return total


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 4), st.integers(1, 5))
def test_points_are_read_bilinearly_between_centres_and_zeros_outside(
    seed: int, height: int, width: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    points = torch.rand(2, 7, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    values = point_sample(maps, points)
    assert values.shape == (2, 3, 7)
    for image in range(2):
        for channel in range(3):
            grid = maps[image, channel].tolist()
            wanted = [value_at(grid, x * width, y * height) for x, y in points[image].tolist()]
            assert values[image, channel].tolist() == pytest.approx(wanted, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_corners_may_stand_for_the_centres_of_the_outer_pixels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, 1, 4, 6, generator=generator, dtype=torch.float64)
    points = torch.rand(1, 9, 2, generator=generator, dtype=torch.float64)
    values = point_sample(maps, points, align_corners=True)
    wanted = [
        value_at(maps[0, 0].tolist(), 5 * x + 0.5, 3 * y + 0.5) for x, y in points[0].tolist()
    ]
    assert values[0, 0].tolist() == pytest.approx(wanted, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_the_nearest_pixel_is_the_one_that_holds_the_point(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, 2, 4, 6, generator=generator, dtype=torch.float64)
    points = torch.rand(1, 9, 2, generator=generator, dtype=torch.float64)
    values = point_sample(maps, points, mode="nearest")
    for index, (x, y) in enumerate(points[0].tolist()):
        assert torch.equal(values[0, :, index], maps[0, :, int(y * 4), int(x * 6)])


def test_a_grid_of_points_is_read_as_a_list_of_them() -> None:
    maps, points = torch.randn(2, 3, 5, 6), torch.rand(2, 4, 7, 2)
    as_list = point_sample(maps, points.flatten(1, 2))
    torch.testing.assert_close(point_sample(maps, points), as_list.unflatten(2, (4, 7)))


def test_maps_and_points_may_be_empty() -> None:
    assert point_sample(torch.randn(2, 3, 5, 6), torch.rand(2, 0, 2)).shape == (2, 3, 0)
    assert point_sample(torch.randn(0, 3, 5, 6), torch.rand(0, 4, 2)).shape == (0, 3, 4)


def test_reading_is_differentiable_in_maps_and_points() -> None:
    maps = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    points = 0.2 + 0.6 * torch.rand(1, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(point_sample, (maps, points.requires_grad_()))


@given(st.integers(0, 3), st.integers(1, 6))
def test_a_grid_lies_row_by_row_and_is_one_for_all_regions(regions: int, side: int) -> None:
    grid = generate_regular_grid_point_coords(regions, side, "cpu")
    assert grid.shape == (regions, side**2, 2)
    for region in grid.tolist():
        wanted = [[(i % side + 0.5) / side, (i // side + 0.5) / side] for i in range(side**2)]
        for point, expected in zip(region, wanted, strict=True):
            assert point == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 30), st.sampled_from([1.0, 1.5, 3.0]), st.sampled_from([0, 0.5, 1]))
def test_the_uncertain_points_are_the_best_of_all_that_were_drawn(
    seed: int, count: int, oversample: float, share: float
) -> None:
    logits = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    seen: list[Tensor] = []

    def uncertainty(values: Tensor) -> Tensor:
        seen.append(-values.abs())
        return seen[-1]

    points = get_uncertain_point_coords_with_randomness(
        logits, uncertainty, count, oversample, share
    )
    assert points.shape == (2, count, 2)
    assert (points >= 0).all()
    assert (points <= 1).all()
    (drawn,) = seen
    assert drawn.shape == (2, 1, int(count * oversample))
    num_uncertain = int(count * share)
    chosen = -point_sample(logits, points[:, :num_uncertain]).abs()
    for image in range(2):
        best = sorted(drawn[image, 0].tolist(), reverse=True)[:num_uncertain]
        assert chosen[image, 0].tolist() == pytest.approx(best, abs=1e-6)


def test_other_points_are_drawn_anew_and_everywhere() -> None:
    torch.manual_seed(0)
    logits = torch.cat([torch.zeros(1, 1, 8, 4), torch.full((1, 1, 8, 4), 9.0)], dim=3)
    points = get_uncertain_point_coords_with_randomness(logits, lambda x: -x.abs(), 400, 3, 0.25)
    others = points[0, 100:]
    assert 0.4 < (others[:, 0] > 0.5).float().mean() < 0.6
    assert 0.4 < (others[:, 1] > 0.5).float().mean() < 0.6
    assert (points[0, :100, 0] < 0.55).all()


def test_no_regions_have_no_points() -> None:
    points = get_uncertain_point_coords_with_randomness(
        torch.zeros(0, 2, 4, 4), lambda x: -x[:, :1].abs(), 5, 3, 0.75
    )
    assert points.shape == (0, 5, 2)
    indices, places = get_uncertain_point_coords_on_grid(torch.zeros(0, 1, 4, 4), 5)
    assert indices.shape == (0, 5)
    assert places.shape == (0, 5, 2)


@pytest.mark.parametrize("ratios", [(0.99, 0.5), (3, -0.1), (3, 1.01)])
def test_ratios_out_of_range_are_named_with_their_values(ratios: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=f"got {ratios[0]} and {ratios[1]}"):
        get_uncertain_point_coords_with_randomness(torch.zeros(1, 1, 4, 4), abs, 5, *ratios)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.integers(1, 30))
def test_uncertain_pixels_are_sorted_out_of_all(
    seed: int, height: int, width: int, count: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randperm(2 * height * width, generator=generator).float()
    maps = values.view(2, 1, height, width)
    indices, points = get_uncertain_point_coords_on_grid(maps, count)
    for image in range(2):
        flat = maps[image].flatten().tolist()
        wanted = sorted(range(len(flat)), key=lambda i: -flat[i])[:count]
        assert indices[image].tolist() == wanted
        for index, (x, y) in zip(wanted, points[image].tolist(), strict=True):
            assert x == pytest.approx((index % width + 0.5) / width)
            assert y == pytest.approx((index // width + 0.5) / height)
    torch.testing.assert_close(
        point_sample(maps, points),
        maps.flatten(2).gather(2, indices[:, None]),
        rtol=1e-4,
        atol=1e-4,
    )


def test_points_of_pixels_are_float32_whatever_the_uncertainty_is() -> None:
    indices, points = get_uncertain_point_coords_on_grid(torch.rand(1, 1, 3, 3).half(), 4)
    assert indices.dtype == torch.int64
    assert points.dtype == torch.float32


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_features_of_points_come_from_every_map_of_the_image_of_their_box(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes, scales = [(8, 12), (4, 6)], [0.25, 0.125]
    maps = [torch.randn(2, 2, *size, generator=generator, dtype=torch.float64) for size in sizes]
    low = torch.rand(3, 2, generator=generator, dtype=torch.float64) * 20
    corners = torch.cat([low, low + 12], dim=1)
    points = torch.rand(3, 4, 2, generator=generator, dtype=torch.float64)
    boxes = [Boxes(corners[:1]), Boxes(corners[1:])]
    features, in_image = point_sample_fine_grained_features(maps, scales, boxes, points)
    assert features.shape == (3, 4, 4)
    for box in range(3):
        image = min(box, 1)
        x1, y1, x2, y2 = corners[box].tolist()
        for point, (u, v) in enumerate(points[box].tolist()):
            x, y = x1 + u * (x2 - x1), y1 + v * (y2 - y1)
            assert in_image[box, point].tolist() == pytest.approx([x, y], rel=1e-5)
            wanted = [
                value_at(level[image, channel].tolist(), x * scale, y * scale)
                for level, scale in zip(maps, scales, strict=True)
                for channel in range(2)
            ]
            assert features[box, :, point].tolist() == pytest.approx(wanted, abs=1e-4)


def test_corners_of_boxes_are_their_points_zero_and_one() -> None:
    boxes = torch.tensor([[2.0, 3, 10, 7], [5, 5, 5, 9]])
    points = torch.tensor([[0.0, 0], [1, 1], [0.5, 0.5]]).expand(2, -1, -1)
    in_image = get_point_coords_wrt_image(boxes, points)
    assert in_image.tolist() == [[[2, 3], [10, 7], [6, 5]], [[5, 5], [5, 9], [5, 7]]]
    assert points[0].tolist() == [[0, 0], [1, 1], [0.5, 0.5]]


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_labels_are_the_masks_at_the_points(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 5, 7, generator=generator) < 0.5
    instances = [
        Instances((5, 7), gt_masks=BitMasks(masks[:2])),
        Instances((5, 7), gt_masks=BitMasks(masks[:0])),
        Instances((5, 7), gt_masks=BitMasks(masks[2:])),
    ]
    points = torch.rand(3, 6, 2, generator=generator) * torch.tensor([7.0, 5.0])
    labels = sample_point_labels(instances, points)
    assert labels.shape == (3, 6)
    for row in range(3):
        grid = masks[row].float().tolist()
        wanted = [value_at(grid, x, y) for x, y in points[row].tolist()]
        assert labels[row].tolist() == pytest.approx(wanted, abs=1e-5)


def test_maps_get_values_at_some_pixels() -> None:
    maps = torch.arange(24.0).view(2, 2, 2, 3)
    before = maps.clone()
    indices = torch.tensor([[0, 5], [3, 1]])
    values = -torch.arange(1.0, 9.0).view(2, 2, 2)
    changed = with_points(maps, indices, values)
    wanted = before.clone()
    for image in range(2):
        for channel in range(2):
            for place, index in enumerate(indices[image].tolist()):
                wanted[image, channel, index // 3, index % 3] = values[image, channel, place]
    assert torch.equal(changed, wanted)
    assert torch.equal(maps, before)


def test_features_of_several_maps_stand_below_each_other_as_named() -> None:
    maps = {
        "p2": torch.randn(2, 3, 8, 8),
        "p3": torch.randn(2, 4, 4, 4),
        "p4": torch.randn(2, 1, 2, 2),
    }
    points = torch.rand(2, 5, 2)
    found = features_at(maps, ["p3", "p2"], points)
    assert torch.equal(found[:, :4], point_sample(maps["p3"], points))
    assert torch.equal(found[:, 4:], point_sample(maps["p2"], points))


def with_classes(*classes: int) -> Instances:
    return Instances((4, 4), gt_classes=torch.tensor(classes, dtype=torch.int64))


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([1, 3]))
def test_the_loss_of_points_is_their_mean_cross_entropy(seed: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, channels, 5, generator=generator, dtype=torch.float64)
    labels = torch.rand(4, 5, generator=generator)
    labels[torch.rand(4, 5, generator=generator) < 0.3] = -1
    classes = torch.randint(0, 3, (4,), generator=generator).tolist()
    total, right, counted = 0.0, 0, 0
    for row in range(4):
        for point in range(5):
            label = float(labels[row, point])
            logit = float(logits[row, classes[row] if channels > 1 else 0, point])
            if label == -1:
                continue
            p = 1 / (1 + math.exp(-logit))
            total -= label * math.log(p) + (1 - label) * math.log(1 - p)
            right += (logit > 0) == (int(label) == 1)
            counted += 1
    with EventStorage() as storage:
        loss = roi_mask_point_loss(
            logits, [with_classes(*classes[:1]), with_classes(), with_classes(*classes[1:])], labels
        )
    assert loss.item() == pytest.approx(total / 20)
    accuracy = storage.latest()["point/accuracy"][0]
    assert accuracy == pytest.approx(right / max(counted, 1))


def test_only_the_own_class_learns_from_points() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    roi_mask_point_loss(logits, [with_classes(2, 0)], torch.rand(2, 4)).backward()
    assert logits.grad is not None
    taught = logits.grad.abs().amax(dim=2) > 0
    assert taught.tolist() == [[False, False, True], [True, False, False]]


def test_the_loss_of_no_regions_can_be_backpropagated() -> None:
    features = torch.randn(0, 3, 4, requires_grad=True)
    loss = roi_mask_point_loss(features, [with_classes()], torch.zeros(0, 4))
    loss.backward()
    assert loss == 0
    assert features.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_points_of_half_precision_maps_are_read_in_it(dtype: torch.dtype) -> None:
    """As under autocast, where maps come in half precision and points in float32."""
    maps = torch.randn(1, 2, 4, 4)
    points = torch.rand(1, 5, 2)
    with torch.autocast("cpu", dtype=dtype):
        values: Any = point_sample(maps.to(dtype), points)
    wanted = F.grid_sample(maps, 2 * points[:, :, None] - 1, align_corners=False)[..., 0]
    torch.testing.assert_close(values.float(), wanted, rtol=0.05, atol=0.05)
