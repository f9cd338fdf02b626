"""Pooled regions against closed forms, and what they do not depend on."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from d2_structures import Boxes, RotatedBoxes

Draw = Callable[..., Tensor]

SCALES = [1 / 4, 1 / 8]
KINDS = ["ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated"]
LINEAR = ["ROIAlign", "ROIAlignV2", "ROIAlignRotated"]


def pooler(kind: str, size: int | tuple[int, int] = 2, ratio: int = 2) -> ROIPooler:
    """Boxes below 32 pixels belong to the first level, others to the second."""
    return ROIPooler(size, SCALES, ratio, kind, canonical_box_size=32, canonical_level=3)


def pyramid(images: int = 2, channels: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, channels, int(128 * s), int(128 * s), generator=generator)
        for s in SCALES
    ]


@pytest.fixture(scope="session")
def draw(random_boxes: Draw, random_rotated_boxes: Draw) -> Callable[..., Any]:
    """Boxes that a kind of pooler takes: kind, count, seed."""

    def drawn(kind: str, count: int, seed: int = 0) -> Boxes | RotatedBoxes:
        if kind == "ROIAlignRotated":
            return RotatedBoxes(random_rotated_boxes(count, seed, 80.0))
        return Boxes(random_boxes(count, seed, 80.0))

    return drawn


def level_by_hand(area: float, lowest: int, highest: int, size: float, level: int) -> int:
    side = math.sqrt(area)
    wanted = math.floor(level + math.log2(side / size + 1e-8))
    return min(max(wanted, lowest), highest) - lowest


@given(
    st.integers(0, 12),
    st.integers(0, 10**6),
    st.tuples(st.integers(0, 3), st.integers(0, 4)),
    st.sampled_from([16, 30, 224]),
    st.integers(1, 5),
)
@settings(max_examples=30, deadline=None)
def test_levels_are_those_of_the_formula(
    random_boxes: Draw, count: int, seed: int, levels: tuple[int, int], size: int, level: int
) -> None:
    lowest, highest = levels[0], levels[0] + levels[1]
    boxes = random_boxes(count, seed, 300.0)
    got = assign_boxes_to_levels([Boxes(boxes)], lowest, highest, size, level)
    assert got.dtype == torch.int64
    for row, found in zip(boxes.double().tolist(), got.tolist(), strict=True):
        area = (row[2] - row[0]) * (row[3] - row[1])
        around = {
            level_by_hand(area * factor, lowest, highest, size, level)
            for factor in (0.9999, 1.0001)
        }
        assert found in around


def test_a_box_of_the_canonical_size_belongs_to_its_level_and_of_twice_that_to_the_next() -> None:
    for size in (32, 224):
        for factor, wanted in ((0.5, 1), (0.99, 1), (1.0, 2), (1.99, 2), (2.0, 3), (4.0, 4)):
            wide = torch.tensor([[0.0, 0, 2 * factor * size, factor * size / 2]])
            assert assign_boxes_to_levels([Boxes(wide)], 2, 6, size, 4).tolist() == [wanted]
            turned = RotatedBoxes([[0.0, 0, factor * size, factor * size, 33.0]])
            assert assign_boxes_to_levels([turned], 2, 6, size, 4).tolist() == [wanted]


@pytest.mark.parametrize("side", [0.0, 1e-3, 1.0])
def test_boxes_too_small_or_too_large_belong_to_the_nearest_level(side: float) -> None:
    boxes = Boxes([[0.0, 0, side, side], [0.0, 0, 1e5, 1e5], [5.0, 5, 5, 90]])
    assert assign_boxes_to_levels([boxes], 2, 5, 224, 4).tolist() == [0, 3, 0]


def test_images_of_twice_the_size_go_to_the_next_level(random_boxes: Draw) -> None:
    boxes = random_boxes(40, 0, 400.0)
    plain = assign_boxes_to_levels([Boxes(boxes)], 0, 20, 224, 10)
    double = assign_boxes_to_levels([Boxes(boxes * 2)], 0, 20, 224, 10)
    assert double.equal(plain + 1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_rows_of_the_poolers_format_are_boxes_after_their_images_number(
    draw: Any, counts: list[int]
) -> None:
    for kind, values in (("ROIAlign", 4), ("ROIAlignRotated", 5)):
        boxes = [draw(kind, count, image) for image, count in enumerate(counts)]
        rows = convert_boxes_to_pooler_format(boxes)
        assert rows.shape == (sum(counts), values + 1)
        wanted = [image for image, count in enumerate(counts) for _ in range(count)]
        assert rows[:, 0].tolist() == wanted
        assert rows[:, 1:].equal(torch.cat([each.tensor for each in boxes]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_map_pools_to_its_value(kind: str) -> None:
    """Of boxes well inside; outside of the map RoIAlign reads zeros."""
    features = [torch.full((1, 2, int(128 * s), int(128 * s)), 3.5) for s in SCALES]
    if kind == "ROIAlignRotated":
        boxes: Any = RotatedBoxes([[60.0, 60, 20, 30, 40], [60, 60, 60, 50, -70]])
    else:
        boxes = Boxes([[50.0, 40, 60, 70], [30, 30, 100, 90]])
    pooled = pooler(kind, 3)(features, [boxes])
    torch.testing.assert_close(pooled, torch.full((2, 2, 3, 3), 3.5))


def ramp(slope_x: float, slope_y: float) -> list[Tensor]:
    """Maps whose pixels hold a linear function of where their centres are in the image."""
    features = []
    for scale in SCALES:
        centres = (torch.arange(128 * scale, dtype=torch.float64) + 0.5) / scale
        features.append((slope_x * centres + slope_y * centres[:, None] + 7)[None, None])
    return features


@given(
    st.tuples(st.floats(40, 60), st.floats(40, 60)),
    st.tuples(st.floats(4, 40), st.floats(4, 40)),
    st.floats(-180, 179),
    st.integers(0, 3),
)
@settings(max_examples=30, deadline=None)
def test_a_ramp_pools_to_its_values_at_the_centres_of_the_bins(
    centre: tuple[float, float], size: tuple[float, float], angle: float, ratio: int
) -> None:
    """Linear interpolation is exact on it, whatever the level and the number of samples."""
    (x, y), (width, height) = centre, size
    features = ramp(0.25, -0.5)
    bins = [(row, column) for row in range(2) for column in range(3)]
    shifts = [((c + 0.5) / 3 - 0.5, (r + 0.5) / 2 - 0.5) for r, c in bins]
    corners = torch.tensor([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])
    straight = pooler("ROIAlignV2", (2, 3), ratio)(features, [Boxes(corners)])
    wanted = [0.25 * (x + u * width) - 0.5 * (y + v * height) + 7 for u, v in shifts]
    assert straight.flatten().tolist() == pytest.approx(wanted, abs=1e-4)
    turned = RotatedBoxes([[x, y, width, height, angle]])
    rotated = pooler("ROIAlignRotated", (2, 3), ratio)(features, [turned])
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    wanted = [
        0.25 * (x + u * width * cos + v * height * sin)
        - 0.5 * (y - u * width * sin + v * height * cos)
        + 7
        for u, v in shifts
    ]
    assert rotated.flatten().tolist() == pytest.approx(wanted, abs=1e-4)


def test_the_legacy_kind_looks_half_a_pixel_of_its_map_further() -> None:
    features = ramp(1.0, 0.0)
    for box, stride in (([40.0, 40, 56, 56], 4), ([40.0, 40, 88, 88], 8)):
        boxes = [Boxes([box])]
        legacy, aligned = (pooler(k)(features, boxes) for k in ("ROIAlign", "ROIAlignV2"))
        torch.testing.assert_close(legacy, aligned + stride / 2)


def test_upright_rotated_boxes_pool_like_boxes_along_the_axes(random_boxes: Draw) -> None:
    corners = random_boxes(9, 0, 80.0)
    sides = corners[:, 2:] - corners[:, :2]
    upright = torch.cat([corners[:, :2] + sides / 2, sides, torch.zeros(9, 1)], dim=1)
    features = pyramid(1)
    straight = pooler("ROIAlignV2")(features, [Boxes(corners)])
    rotated = pooler("ROIAlignRotated")(features, [RotatedBoxes(upright)])
    torch.testing.assert_close(rotated, straight, rtol=1e-4, atol=1e-4)


def test_a_half_turn_turns_the_pooled_region(random_rotated_boxes: Draw) -> None:
    boxes = random_rotated_boxes(9, 0, 80.0)
    turned = boxes.clone()
    turned[:, 4] += 180
    features = pyramid(1)
    plain, other = (
        pooler("ROIAlignRotated")(features, [RotatedBoxes(each)]) for each in (boxes, turned)
    )
    torch.testing.assert_close(other, plain.flip(2, 3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIPool"])
def test_mirrored_images_pool_to_mirrored_regions(kind: str) -> None:
    """Of boxes whose corners lie on pixels of their maps, for RoIPool's bins are rounded."""
    boxes = torch.tensor([[8.0, 16, 32, 32], [16, 8, 80, 72]])
    mirrored = torch.stack([128 - boxes[:, 2], boxes[:, 1], 128 - boxes[:, 0], boxes[:, 3]], dim=1)
    if kind == "ROIPool":  # it takes the pixel of the last corner too
        mirrored[:, [0, 2]] -= torch.tensor([[4.0], [8.0]])
    features = pyramid(1)
    plain = pooler(kind)(features, [Boxes(boxes)])
    other = pooler(kind)([each.flip(3) for each in features], [Boxes(mirrored)])
    torch.testing.assert_close(other, plain.flip(3))


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_pooled_as_alone(kind: str, draw: Any) -> None:
    features, boxes = pyramid(3), [draw(kind, count, count) for count in (4, 0, 7)]
    together = pooler(kind)(features, boxes).split([4, 0, 7])
    for image, (rows, own) in enumerate(zip(together, boxes, strict=True)):
        alone = pooler(kind)([each[image : image + 1] for each in features], [own])
        torch.testing.assert_close(rows, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_in_another_order_are_pooled_in_that_order(kind: str, draw: Any) -> None:
    features, boxes = pyramid(1), draw(kind, 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    wanted = pooler(kind)(features, [boxes])[order]
    torch.testing.assert_close(pooler(kind)(features, [boxes[order]]), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_images_in_another_order_are_pooled_in_that_order(kind: str, draw: Any) -> None:
    features, boxes = pyramid(2), [draw(kind, 3, 1), draw(kind, 5, 2)]
    first, second = pooler(kind)(features, boxes).split([3, 5])
    got = pooler(kind)([each.flip(0) for each in features], boxes[::-1])
    torch.testing.assert_close(got, torch.cat([second, first]))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_below_each_other_are_pooled_as_boxes_of_images(kind: str, draw: Any) -> None:
    features, boxes = pyramid(2), [draw(kind, 3, 1), draw(kind, 5, 2)]
    rows = convert_boxes_to_pooler_format(boxes)
    wanted = pooler(kind)(features, boxes)
    assert pooler(kind).pool(features, rows).equal(wanted)
    assert pooler(kind).pool(features, rows.flip(0)).equal(wanted.flip(0))


@pytest.mark.parametrize("kind", KINDS)
def test_maps_with_channels_last_give_the_same_values_and_gradients(kind: str, draw: Any) -> None:
    boxes = [draw(kind, 3, 1), draw(kind, 5, 2)]
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        features = [
            each.clone(memory_format=layout).requires_grad_() for each in pyramid(2, channels=5)
        ]
        pooled = pooler(kind)(features, boxes)
        weights = torch.arange(pooled.numel()).view(pooled.shape) % 7
        (pooled * weights).sum().backward()
        results.append((pooled.detach(), [each.grad for each in features]))
    (pooled, gradients), (other, other_gradients) = results
    torch.testing.assert_close(other, pooled)
    torch.testing.assert_close(other_gradients, gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_maps_are_those_of_finite_differences(kind: str) -> None:
    features = [each[:, :, 4:10, 4:10].double() for each in pyramid(1, channels=1)]
    if kind == "ROIAlignRotated":
        boxes: Any = RotatedBoxes([[10.0, 10, 12, 8, 25], [20, 20, 40, 40, 80]])
    else:
        boxes = Boxes([[4.0, 5, 17, 19], [1, 2, 45, 44]])
    leaves = [each.contiguous().requires_grad_() for each in features]
    assert torch.autograd.gradcheck(lambda *maps: pooler(kind)(maps, [boxes]), leaves)


@pytest.mark.parametrize("kind", LINEAR)
def test_pooling_is_linear_in_the_maps(kind: str, draw: Any) -> None:
    first, second = pyramid(1, seed=1), pyramid(1, seed=2)
    boxes = [draw(kind, 6)]
    mixed = [2 * a - 3 * b for a, b in zip(first, second, strict=True)]
    wanted = 2 * pooler(kind)(first, boxes) - 3 * pooler(kind)(second, boxes)
    torch.testing.assert_close(pooler(kind)(mixed, boxes), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", LINEAR)
def test_regions_have_the_precision_of_the_maps(kind: str, dtype: torch.dtype, draw: Any) -> None:
    features = [each.to(dtype) for each in pyramid(1)]
    boxes = [draw(kind, 6)]
    pooled = pooler(kind)(features, boxes)
    assert pooled.dtype == dtype
    exact = pooler(kind)([each.double() for each in features], boxes)
    tolerance = 1e-6 if dtype == torch.float64 else 2e-2
    torch.testing.assert_close(pooled.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_or_outside_the_image_give_finite_regions(kind: str) -> None:
    if kind == "ROIAlignRotated":
        boxes: Any = RotatedBoxes(
            [[30.0, 30, 0, 0, 5], [-500, 40, 30, 30, 9], [900, 9, 400, 40, 0]]
        )
    else:
        boxes = Boxes([[30.0, 30, 30, 30], [-500, 20, -480, 40], [900, 9, 1300, 400]])
    pooled = pooler(kind, ratio=0)(pyramid(1), [boxes])
    assert pooled.shape == (3, 3, 2, 2)
    assert pooled.isfinite().all()
    assert not pooled[1:].any()  # there is nothing to see


def test_one_number_or_two_give_the_size() -> None:
    for size, wanted in ((3, (3, 3)), ((3, 5), (3, 5)), ([5, 3], (5, 3))):
        options: Any = size
        assert pooler("ROIAlignV2", options).output_size == wanted
        assert pooler("ROIAlignV2", options)(pyramid(1), [Boxes([[0.0, 0, 9, 9]])]).shape == (
            1,
            3,
            *wanted,
        )


def test_the_largest_value_of_each_bin_is_found_pixel_by_pixel() -> None:
    (feature,) = pyramid(1, channels=2)[:1]
    box = [12.0, 20.0, 60.0, 84.0]
    pooled = ROIPooler(2, [1 / 4], 0, "ROIPool")([feature], [Boxes([box])])[0]
    x1, y1, x2, y2 = (round(value / 4) for value in box)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    for row in range(2):
        for column in range(2):
            rows = slice(y1 + row * height // 2, y1 + math.ceil((row + 1) * height / 2))
            columns = slice(x1 + column * width // 2, x1 + math.ceil((column + 1) * width / 2))
            wanted = feature[0, :, rows, columns].amax(dim=(1, 2))
            assert pooled[:, row, column].equal(wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooler_type": "RoIAlign"}, "unknown pooler_type 'RoIAlign'; did you mean 'ROIAlign'"),
        ({"pooler_type": ""}, r"unknown pooler_type '' Known: \['ROIAlign', 'ROIAlignV2', 'ROIPo"),
        ({"output_size": ()}, r"one or two numbers, got \(\)"),
        ({"canonical_box_size": -1}, "canonical_box_size has to be positive, got -1"),
        ({"scales": [1 / 8, 1 / 4]}, r"each half of the one before, got \[0\.125, 0\.25\]"),
        ({"scales": [0.0]}, "powers of two"),
        ({"scales": [2.0]}, "powers of two"),
    ],
)
def test_wrong_settings_are_shown(change: dict[str, Any], message: str) -> None:
    settings = {"output_size": 2, "scales": SCALES, "sampling_ratio": 0, "pooler_type": "ROIPool"}
    with pytest.raises(ValueError, match=message):
        ROIPooler(**{**settings, **change})


@pytest.mark.parametrize("kind", KINDS)
def test_one_pooler_of_each_level_pools_boxes_of_any_size(kind: str, draw: Any) -> None:
    module = pooler(kind)
    assert len(module.level_poolers) == 2
    rows = convert_boxes_to_pooler_format([draw(kind, 4)])
    for each, feature in zip(module.level_poolers, pyramid(1), strict=True):
        assert each(feature, rows).shape == (4, 3, 2, 2)
