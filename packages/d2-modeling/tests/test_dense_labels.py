"""Labels of anchors against the rules of both papers, followed one anchor after another."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.dense import labels_by_overlap, labels_by_place
from d2_modeling.matcher import Matcher
from d2_structures import Boxes, Instances

K = 5
STRIDES = (8, 16, 32)


def objects(count: int, seed: int, extent: float = 128.0) -> Instances:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * extent * 0.7
    size = 4 + torch.rand(count, 2, generator=generator) * extent
    return Instances(
        (128, 128),
        gt_boxes=Boxes(torch.cat([low, low + size], dim=1)),
        gt_classes=torch.randint(K, (count,), generator=generator),
    )


def pixels() -> list[Boxes]:
    """For each level a square of the stride's size around every pixel of a 128-pixel image."""
    levels = []
    for stride in STRIDES:
        side = 128 // stride
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        low = torch.stack([x, y], dim=2).reshape(-1, 2).float() * stride
        levels.append(Boxes(torch.cat([low, low + stride], dim=1)))
    return levels


def responsible_object(x: float, y: float, level: int, gt: Instances, radius: float) -> int | None:
    """The index of the smallest object that a pixel of a level is responsible for."""
    stride, best, found = STRIDES[level], math.inf, None
    for index, (x1, y1, x2, y2) in enumerate(gt.gt_boxes.tensor.double().tolist()):
        sides = (x - x1, y - y1, x2 - x, y2 - y)
        near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < radius * stride
        lower = 0.0 if level == 0 else 4.0 * stride
        upper = math.inf if level == len(STRIDES) - 1 else 8.0 * stride
        area = (x2 - x1) * (y2 - y1)
        if min(sides) > 0 and near and lower < max(sides) < upper and area < best:
            best, found = area, index
    return found


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 6), st.integers(0, 10**6), st.sampled_from([0.5, 1.5, 3.0]))
def test_pixels_get_the_smallest_object_that_suits_their_level(
    count: int, seed: int, radius: float
) -> None:
    gt = objects(count, seed)
    (labels,), (boxes,) = labels_by_place(pixels(), [gt], radius=radius, num_classes=K)
    row = 0
    for level, anchors in enumerate(pixels()):
        for x, y in anchors.get_centers().tolist():
            found = responsible_object(x, y, level, gt, radius)
            if found is None:
                assert labels[row] == K
            else:
                assert labels[row] == gt.gt_classes[found]
                assert torch.equal(boxes[row], gt.gt_boxes.tensor[found])
            row += 1
    assert row == len(labels) == len(boxes)


def test_of_equal_boxes_the_first_is_responsible() -> None:
    box = torch.tensor([[16.0, 16, 48, 48]]).expand(3, 4)
    gt = Instances((128, 128), gt_boxes=Boxes(box), gt_classes=torch.tensor([4, 1, 2]))
    (labels,), _ = labels_by_place(pixels(), [gt], radius=1.5, num_classes=K)
    assert set(labels.tolist()) == {4, K}


def test_pixels_on_a_side_are_outside() -> None:
    """The centre (20, 20) lies on the left side of the one box, and within the other."""
    anchors = pixels()
    centres = Boxes.cat(anchors).get_centers()
    row = int(((centres - 20.0).abs().amax(dim=1) == 0).nonzero()[0])
    for left, wanted in ((20.0, K), (19.5, 0)):
        box = torch.tensor([[left, 10, left + 20, 30]])
        gt = Instances((128, 128), gt_boxes=Boxes(box), gt_classes=torch.tensor([0]))
        (labels,), _ = labels_by_place(anchors, [gt], radius=5.0, num_classes=K)
        assert labels[row] == wanted


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 10**6), st.booleans())
def test_anchors_get_the_object_they_overlap_most(count: int, seed: int, low_quality: bool) -> None:
    gt = objects(count, seed)
    anchors = [objects(7, seed + 1).gt_boxes, objects(4, seed + 2).gt_boxes]
    matcher = Matcher([0.3, 0.5], [0, -1, 1], allow_low_quality_matches=low_quality)
    (labels,), (boxes,) = labels_by_overlap(anchors, [gt], matcher=matcher, num_classes=K)
    rows = Boxes.cat(anchors).tensor.double().tolist()
    objects_xyxy = gt.gt_boxes.tensor.double().tolist()
    overlaps = [[_overlap(a, b) for a in rows] for b in objects_xyxy]
    best_of_object = [max(row) for row in overlaps]
    for column in range(len(rows)):
        of_anchor = [row[column] for row in overlaps]
        best = max(of_anchor)
        if min(abs(best - bound) for bound in (0.3, 0.5)) < 1e-5 or _tied(of_anchor):
            continue  # float32 may decide otherwise
        lifted = low_quality and any(
            abs(o - b) < 1e-9 for o, b in zip(of_anchor, best_of_object, strict=True)
        )
        winner = of_anchor.index(best)
        if lifted or best >= 0.5:
            assert labels[column] == gt.gt_classes[winner]
            assert torch.equal(boxes[column], gt.gt_boxes.tensor[winner])
        else:
            assert labels[column] == (-1 if best >= 0.3 else K)


def _overlap(a: list[float], b: list[float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    return width * height / union


def _tied(values: list[float]) -> bool:
    first, *others = sorted(values, reverse=True)
    return bool(others) and first - others[0] < 1e-6


LABELLERS: dict[str, Callable[[list[Boxes], list[Instances]], Any]] = {
    "overlap": lambda anchors, gt: labels_by_overlap(
        anchors, gt, matcher=Matcher([0.4, 0.5], [0, -1, 1], True), num_classes=K
    ),
    "place": lambda anchors, gt: labels_by_place(anchors, gt, radius=1.5, num_classes=K),
}


@pytest.mark.parametrize("kind", list(LABELLERS))
def test_each_image_is_labelled_as_alone(kind: str) -> None:
    images = [objects(3, 5), objects(0, 6), objects(2, 7)]
    labels, boxes = LABELLERS[kind](pixels(), images)
    for image, image_labels, image_boxes in zip(images, labels, boxes, strict=True):
        (alone,), (alone_boxes,) = LABELLERS[kind](pixels(), [image])
        assert torch.equal(image_labels, alone)
        assert torch.equal(image_boxes, alone_boxes)


@pytest.mark.parametrize("kind", list(LABELLERS))
def test_images_without_objects_are_all_background(kind: str) -> None:
    (labels,), (boxes,) = LABELLERS[kind](pixels(), [objects(0, 1)])
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == {K}
    assert boxes.shape == (len(labels), 4)


@pytest.mark.parametrize("kind", list(LABELLERS))
def test_labels_ask_for_no_gradient(kind: str) -> None:
    gt = objects(3, 2)
    leaf: Tensor = gt.gt_boxes.tensor.clone().requires_grad_()
    gt.gt_boxes = Boxes(leaf)
    _, (boxes,) = LABELLERS[kind](pixels(), [gt])
    assert not boxes.requires_grad
