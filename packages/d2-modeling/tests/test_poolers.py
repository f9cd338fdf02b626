"""Pooling regions from feature pyramids."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from d2_ops import roi_align, roi_align_rotated, roi_pool
from d2_structures import Boxes, RotatedBoxes

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def random_boxes(count: int, seed: int, largest: float = 120.0) -> Boxes:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    size = 1 + torch.rand(count, 2, generator=generator) * largest
    return Boxes(torch.cat([corner, corner + size], dim=1))


def pyramid(batch: int = 2, channels: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, channels, int(128 * s), int(128 * s), generator=generator)
        for s in SCALES
    ]


def test_levels_and_format_equal_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["pooler_levels"]
    boxes = [Boxes(image) for image in golden["boxes"]]
    assert torch.equal(assign_boxes_to_levels(boxes, 2, 5, 224, 4), golden["levels"])
    assert torch.equal(convert_boxes_to_pooler_format(boxes), golden["pooler_format"])


def test_boxes_of_half_precision_belong_to_the_levels_of_their_areas() -> None:
    upright = torch.tensor([[0.0, 0, 300, 300], [0, 0, 60, 60], [0, 0, 2000, 2000]])
    rotated = torch.tensor([[0.0, 0, 300, 300, 5], [0, 0, 60, 60, 5], [0, 0, 2000, 2000, 5]])
    for kind, boxes in ((Boxes, upright), (RotatedBoxes, rotated)):
        halved = kind(boxes)
        halved.tensor = boxes.half()
        assert assign_boxes_to_levels([halved], 2, 6, 224, 4).tolist() == [2, 0, 4]


@pytest.mark.parametrize("kind", ["ROIAlign", "ROIAlignV2"])
def test_pooled_features_equal_the_reference(golden_modeling: Any, kind: str) -> None:
    golden = golden_modeling["roi_pooler"]
    features = [feature.float() for feature in golden["feats"]]
    boxes = [Boxes(image) for image in golden["boxes"]]
    pooler = ROIPooler(7, SCALES, 0, kind)
    torch.testing.assert_close(pooler(features, boxes), golden[kind], rtol=1e-4, atol=1e-5)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_each_box_is_pooled_from_its_level_in_the_given_order(a: int, b: int, seed: int) -> None:
    features = pyramid()
    boxes = [random_boxes(a, seed), random_boxes(b, seed + 1)]
    pooler = ROIPooler(2, SCALES, 2, "ROIAlignV2", canonical_box_size=40, canonical_level=3)
    pooled = pooler(features, boxes)
    assert pooled.shape == (a + b, 3, 2, 2)
    levels = assign_boxes_to_levels(boxes, 2, 5, 40, 3)
    for row, level, roi in zip(pooled, levels, convert_boxes_to_pooler_format(boxes), strict=True):
        alone = roi_align(features[level], roi[None], (2, 2), SCALES[level], 2, True)[0]
        torch.testing.assert_close(row, alone)


def test_the_largest_values_are_pooled_from_the_level_of_each_box() -> None:
    features = [feature.requires_grad_() for feature in pyramid()]
    boxes = [random_boxes(7, 0), random_boxes(5, 1)]
    pooler = ROIPooler(2, SCALES, 0, "ROIPool", canonical_box_size=40, canonical_level=3)
    pooled = pooler(features, boxes)
    levels = assign_boxes_to_levels(boxes, 2, 5, 40, 3)
    for row, level, roi in zip(pooled, levels, convert_boxes_to_pooler_format(boxes), strict=True):
        assert row.equal(roi_pool(features[level], roi[None], 2, SCALES[level])[0])
    pooled.sum().backward()
    assert all(feature.grad is not None for feature in features[:2])


def test_rotated_boxes_are_pooled_from_their_level() -> None:
    features = pyramid()
    rows = torch.tensor([[50.0, 40, 20, 30, 30], [60, 60, 100, 70, -45], [30, 30, 8, 8, 90]])
    boxes = [RotatedBoxes(rows[:2]), RotatedBoxes(rows[2:])]
    pooler = ROIPooler(2, SCALES, 0, "ROIAlignRotated", canonical_box_size=40, canonical_level=3)
    pooled = pooler(features, boxes)
    levels = assign_boxes_to_levels(boxes, 2, 5, 40, 3)
    assert levels.tolist() == [0, 2, 0]
    for row, level, roi in zip(pooled, levels, convert_boxes_to_pooler_format(boxes), strict=True):
        alone = roi_align_rotated(features[level], roi[None], 2, SCALES[level], 0)[0]
        torch.testing.assert_close(row, alone)


def test_a_pooler_compiles_in_one_graph_for_any_number_of_boxes() -> None:
    pooler = ROIPooler(2, SCALES, 0, "ROIAlignV2")
    compiled = torch.compile(
        lambda x, a, b: pooler(x, [Boxes(a), Boxes(b)]),
        fullgraph=True,
        dynamic=True,
        backend="eager",
    )
    for count in (3, 6):
        boxes = [random_boxes(count, 0), random_boxes(count + 1, 1)]
        pooled = compiled(pyramid(), boxes[0].tensor, boxes[1].tensor)
        assert pooled.equal(pooler(pyramid(), boxes))


def test_gradients_go_to_the_level_of_the_box() -> None:
    features = [f.double().requires_grad_() for f in pyramid(1, 1)]
    pooler = ROIPooler(2, SCALES, 1, "ROIAlignV2", canonical_box_size=40, canonical_level=3)
    boxes = [Boxes(torch.tensor([[0.0, 0.0, 80.0, 80.0], [0.0, 0.0, 20.0, 20.0]]).double())]
    pooler(features, boxes)[0].sum().backward()
    touched = [f.grad is not None and bool(f.grad.any()) for f in features]
    assert touched == [False, False, True, False]


def test_no_boxes_give_an_empty_result() -> None:
    for kind in ("ROIAlignV2", "ROIPool"):
        pooled = ROIPooler(7, SCALES, 0, kind)(pyramid(), [Boxes(torch.zeros(0, 4))] * 2)
        assert pooled.shape == (0, 3, 7, 7)


@pytest.mark.parametrize("kind", ["ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated"])
def test_no_images_give_an_empty_result(kind: str) -> None:
    pooler = ROIPooler((7, 5), SCALES, 2, kind)
    pooled = pooler([level.double() for level in pyramid(batch=0)], [])
    assert pooled.shape == (0, 3, 7, 5)
    assert pooled.dtype == torch.float64


def test_a_single_level_needs_no_assignment() -> None:
    features = pyramid()[1:2]
    boxes = [random_boxes(3, 0), random_boxes(2, 1)]
    pooled = ROIPooler((2, 3), [1 / 8], 2, "ROIAlign")(features, boxes)
    rois = convert_boxes_to_pooler_format(boxes)
    torch.testing.assert_close(pooled, roi_align(features[0], rois, (2, 3), 1 / 8, 2, False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": [1 / 4, 1 / 16]}, "half of the one before"),
        ({"scales": [1 / 3]}, "powers of two"),
        ({"scales": []}, "powers of two"),
        ({"pooler_type": "ROIAlignV3"}, "did you mean 'ROIAlignV2'"),
        ({"output_size": (1, 2, 3)}, "one or two numbers"),
        ({"canonical_box_size": 0}, "positive"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    options = {
        "output_size": 7,
        "scales": SCALES,
        "sampling_ratio": 0,
        "pooler_type": "ROIAlignV2",
    }
    with pytest.raises(ValueError, match=message):
        ROIPooler(**{**options, **change})


def test_a_pooler_shows_its_settings() -> None:
    assert repr(ROIPooler(7, [1 / 4, 1 / 8], 0, "ROIPool")) == (
        "ROIPooler(output_size=(7, 7), scales=(0.25, 0.125), sampling_ratio=0, "
        "pooler_type='ROIPool', canonical_box_size=224, canonical_level=4)"
    )


def test_levels_and_images_have_to_agree() -> None:
    pooler = ROIPooler(7, SCALES, 0, "ROIAlignV2")
    with pytest.raises(ValueError, match="4 levels, got 3"):
        pooler(pyramid()[:3], [random_boxes(1, 0)] * 2)
    with pytest.raises(ValueError, match="boxes of 1 images, features of 2"):
        pooler(pyramid(), [random_boxes(1, 0)])
