"""Choosing boxes of a whole batch gives what choosing in each image alone gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.batched_selection import (
    Detections,
    Regions,
    at_least,
    at_most,
    batch_index_of,
    clipped_to_images,
    counts_per_image,
    detections_of_images,
    nonempty,
    sizes_as_tensor,
    suppressed,
)
from d2_modeling.box_kinds import box_kind
from d2_structures import Boxes, RotatedBoxes, pairwise_iou, pairwise_iou_rotated

Nms = Callable[[Any, Any, float], list[int]]


def boxes_of(count: int, seed: int, extent: float = 40.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * extent
    return torch.cat([low, low + 1 + torch.rand(count, 2, generator=generator) * extent], dim=1)


def rotated(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, 5, generator=generator)
    scale = torch.tensor([60.0, 60.0, 30.0, 30.0, 720.0])
    shift = torch.tensor([-5.0, -5.0, 1.0, 1.0, -360.0])
    return numbers * scale + shift


def distinct_scores(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randperm(count, generator=generator).float() + 1) / (count + 1)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([0.2, 0.5, 0.8]),
    st.sampled_from([-1, 0, 2, 100]),
    st.booleans(),
)
def test_suppression_is_that_within_each_category_of_each_image(
    greedy_nms: Nms, counts: list[int], seed: int, thresh: float, limit: int, some_invalid: bool
) -> None:
    total = sum(counts)
    generator = torch.Generator().manual_seed(seed)
    boxes, scores = boxes_of(total, seed), distinct_scores(total, seed)
    categories = torch.randint(2, (total,), generator=generator)
    valid = torch.rand(total, generator=generator) > 0.3 if some_invalid else None
    images = batch_index_of(counts, boxes.device)
    everything = suppressed(
        *(boxes, scores, categories, images),
        num_images=len(counts),
        num_categories=2,
        nms_thresh=thresh,
        limit=limit,
        valid=valid,
    )
    rows, kept_counts, known = everything.on_host(lambda: torch.tensor(total > 0))
    wanted: list[int] = []
    wanted_counts = []
    for image in range(len(counts)):
        kept: list[int] = []
        for category in range(2):
            mine = (images == image) & (categories == category)
            if valid is not None:
                mine &= valid
            index = mine.nonzero()[:, 0]
            kept += index[greedy_nms(boxes[index], scores[index], thresh)].tolist()
        kept.sort(key=lambda row: -scores[row].item())
        kept = kept if limit < 0 else kept[:limit]
        wanted += kept
        wanted_counts.append(len(kept))
    assert rows.tolist() == wanted
    assert kept_counts == wanted_counts
    assert known == [total > 0]
    assert sorted(everything.rows.tolist()) == list(range(total))  # of a size that is known
    assert everything.taken().sum() == len(wanted)


def test_boxes_that_do_not_count_suppress_nothing() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    kept = suppressed(
        boxes,
        torch.tensor([0.9, 0.5]),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
        num_images=1,
        num_categories=1,
        nms_thresh=0.5,
        limit=10,
        valid=torch.tensor([False, True]),
    )
    rows, counts, _ = kept.on_host()
    assert rows.tolist() == [1]
    assert counts == [1]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(0, 10**6))
def test_straight_boxes_are_clipped_as_their_structure_clips_them(count: int, seed: int) -> None:
    boxes = boxes_of(count, seed, extent=60.0) - 20
    sizes = [(30, 45), (64, 20)]
    images = torch.arange(count) % 2
    got = clipped_to_images(boxes, torch.tensor(sizes)[images])
    for image, size in enumerate(sizes):
        alone = Boxes(boxes[images == image].clone())
        alone.clip(size)
        assert torch.equal(got[images == image], alone.tensor)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(0, 10**6))
def test_rotated_boxes_are_clipped_as_their_structure_clips_them(count: int, seed: int) -> None:
    boxes = rotated(count, seed)
    boxes[::3, 4] = boxes[::3, 4] / 720  # some that are almost straight
    size = (48, 40)
    alone = RotatedBoxes(boxes.clone())
    alone.clip(size)
    got = clipped_to_images(boxes, torch.tensor([size]).expand(count, 2))
    torch.testing.assert_close(got, alone.tensor, rtol=1e-5, atol=1e-4)


def test_a_box_is_empty_if_a_side_is_not_longer_than_the_threshold() -> None:
    straight = torch.tensor([[0.0, 0, 4, 3], [0, 0, 3, 4], [2, 2, 2, 9], [5, 5, 4, 9]])
    assert nonempty(straight).tolist() == [True, True, False, False]
    assert nonempty(straight, 3.0).tolist() == [False, False, False, False]
    assert nonempty(straight, 2.5).tolist() == [True, True, False, False]
    turned = torch.tensor([[0.0, 0, 4, 3, 50], [0, 0, 0, 3, 50]])
    assert nonempty(turned).tolist() == [True, False]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), max_size=5))
def test_counts_and_indices_undo_each_other(counts: list[int]) -> None:
    index = batch_index_of(counts, torch.device("cpu"))
    assert index.dtype == torch.int64
    assert len(index) == sum(counts)
    regions = Regions(torch.zeros(len(index), 4), torch.zeros(len(index)), index)
    assert list(counts_per_image(regions, len(counts))) == counts
    known = regions._replace(counts=[7])
    assert counts_per_image(known, 1) == [7]  # nothing is asked of the device


def test_detections_come_apart_by_image() -> None:
    found = Detections(
        boxes=boxes_of(5, 0),
        scores=distinct_scores(5, 0),
        classes=torch.arange(5),
        batch_index=torch.tensor([0, 0, 2, 2, 2]),
        source=torch.arange(5),
    )
    sizes = [(4, 5), (6, 7), (8, 9)]
    images = detections_of_images(found, sizes, counts_per_image(found, 3))
    assert [len(image) for image in images] == [2, 0, 3]
    assert [image.image_size for image in images] == sizes
    assert torch.equal(images[2].pred_boxes.tensor, found.boxes[2:])
    assert images[2].pred_classes.tolist() == [2, 3, 4]


def test_rois_have_the_image_first() -> None:
    boxes = boxes_of(2, 1)
    regions = Regions(boxes, distinct_scores(2, 1), torch.tensor([1, 3]))
    assert torch.equal(regions.rois()[:, 0], torch.tensor([1.0, 3.0]))
    assert torch.equal(regions.rois()[:, 1:], boxes)
    turned = Detections(
        rotated(2, 1), regions.scores, torch.zeros(2), regions.batch_index, torch.arange(2)
    )
    assert turned.rois().shape == (2, 6)


def test_limits_hold_for_numbers_and_for_tensors() -> None:
    assert at_most(3, 5) == 3
    assert at_most(7, 5) == 5
    assert at_most(torch.tensor(7), 5) == 5
    assert at_least(3, 5) == 5
    assert at_least(torch.tensor(3), 5) == 5


def test_sizes_become_rows_of_the_wanted_type() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert sizes_as_tensor([(3, 4), (5, 6)], like).tolist() == [[3, 4], [5, 6]]
    assert sizes_as_tensor([(3, 4)], like).dtype == torch.float64
    assert sizes_as_tensor([], like).shape == (0, 2)


def test_a_kind_of_boxes_goes_with_its_structure_and_overlaps() -> None:
    a, b = boxes_of(3, 2), boxes_of(4, 3)
    straight = box_kind(4)
    assert straight.boxes is Boxes
    assert torch.equal(straight.pairwise_iou(Boxes(a), Boxes(b)), pairwise_iou(Boxes(a), Boxes(b)))
    c, d = RotatedBoxes(rotated(3, 2)), RotatedBoxes(rotated(4, 3))
    turned = box_kind(5)
    assert turned.boxes is RotatedBoxes
    assert torch.equal(turned.pairwise_iou(c, d), pairwise_iou_rotated(c, d))
    with pytest.raises(ValueError, match="4 values or, if rotated, 5; got 6"):
        box_kind(6)
