"""Detections out of region scores, against a choice made one region after another."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling import host_waits
from d2_modeling.roi_heads import fast_rcnn_inference, fast_rcnn_inference_single_image
from d2_structures import RotatedBoxes, pairwise_iou_rotated

Nms = Callable[[Any, Any, float], list[int]]
SIZE = (50, 60)


def regions(count: int, classes: int, seed: int, agnostic: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boxes = 1 if agnostic else classes
    low = torch.rand(count, boxes, 2, generator=generator) * 50 - 10
    size = 5 + torch.rand(count, boxes, 2, generator=generator) * 40
    order = torch.randperm(count * (classes + 1), generator=generator)
    scores = ((order + 1).float() / (len(order) + 1)).view(count, classes + 1)
    return torch.cat([low, low + size], dim=2).flatten(1), scores


def chosen(
    boxes: Tensor, scores: Tensor, nms: Nms, *, score: float, iou: float, limit: int
) -> list[tuple[int, int]]:
    """(region, class) of what is detected, by decreasing score."""
    classes = scores.shape[1] - 1
    found: list[tuple[int, int]] = []
    for kind in range(classes):
        at = 0 if boxes.shape[1] == 4 else kind
        mine = boxes[:, 4 * at : 4 * at + 4]
        clipped = torch.stack(
            [
                mine[:, 0].clamp(0, SIZE[1]),
                mine[:, 1].clamp(0, SIZE[0]),
                mine[:, 2].clamp(0, SIZE[1]),
                mine[:, 3].clamp(0, SIZE[0]),
            ],
            dim=1,
        )
        rows = (scores[:, kind] > score).nonzero()[:, 0]
        kept = nms(clipped[rows], scores[rows, kind], iou)
        found += [(int(rows[index]), kind) for index in kept]
    found.sort(key=lambda pair: -scores[pair].item())
    return found if limit < 0 else found[:limit]


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 12),
    st.integers(1, 3),
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([0.3, 0.6]),
    st.sampled_from([-1, 0, 3, 100]),
)
def test_what_is_detected_is_chosen_class_by_class(
    greedy_nms: Nms,
    count: int,
    classes: int,
    seed: int,
    agnostic: bool,
    score: float,
    iou: float,
    limit: int,
) -> None:
    boxes, scores = regions(count, classes, seed, agnostic)
    wanted = chosen(boxes, scores, greedy_nms, score=score, iou=iou, limit=limit)
    result, kept = fast_rcnn_inference_single_image(boxes, scores, SIZE, score, iou, limit)
    got = list(zip(kept.tolist(), result.pred_classes.tolist(), strict=True))
    assert got == wanted
    rows = [scores[pair] for pair in wanted]
    assert result.scores.tolist() == [row.item() for row in rows]


def test_each_image_is_detected_as_alone_with_its_own_region_numbers() -> None:
    images = [regions(count, 3, count, False) for count in (5, 0, 8)]
    boxes, scores = [b for b, _ in images], [s for _, s in images]
    sizes = [SIZE, (20, 20), (40, 30)]
    results, kept = fast_rcnn_inference(boxes, scores, sizes, 0.2, 0.5, 6)
    for index, size in enumerate(sizes):
        alone, rows = fast_rcnn_inference_single_image(
            boxes[index], scores[index], size, 0.2, 0.5, 6
        )
        assert torch.equal(results[index].pred_boxes.tensor, alone.pred_boxes.tensor)
        assert torch.equal(kept[index], rows)
        assert results[index].image_size == size


def test_no_images_give_nothing() -> None:
    assert fast_rcnn_inference([], [], [], 0.0, 0.5, 10) == ([], [])


def test_the_background_is_never_detected() -> None:
    boxes, scores = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[0.1, 0.2, 0.95]])
    result, _ = fast_rcnn_inference_single_image(boxes, scores, SIZE, 0.05, 0.5, 10)
    assert result.pred_classes.tolist() == [1, 0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["boxes", "scores"])
def test_a_region_with_a_value_that_is_not_finite_is_left_out(value: float, where: str) -> None:
    boxes, scores = regions(4, 2, 1, False)
    (boxes if where == "boxes" else scores)[2, 1] = value
    _, kept = fast_rcnn_inference_single_image(boxes, scores, SIZE, 0.0, 1.0, -1)
    assert set(kept.tolist()) == {0, 1, 3}


def test_rotated_boxes_stay_rotated() -> None:
    boxes = torch.tensor([[30.0, 20, 16, 8, 45], [30, 20, 16, 8, 44], [10, 10, 8, 4, 0]])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    result, kept = fast_rcnn_inference_single_image(boxes, scores, SIZE, 0.5, 0.5, 10, box_dim=5)
    assert isinstance(result.pred_boxes, RotatedBoxes)
    assert kept.tolist() == [0, 2]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([0, 1, 3, 100]),
    st.integers(1, 20),
    st.booleans(),
)
def test_on_a_device_the_best_pairs_are_enough_or_all_are_looked_at(
    counts: list[int],
    seed: int,
    agnostic: bool,
    score: float,
    limit: int,
    pairs: int,
    ties: bool,
) -> None:
    images = [regions(count, 3, seed + place, agnostic) for place, count in enumerate(counts)]
    boxes, scores = [image[0] for image in images], [image[1] for image in images]
    if ties:
        scores = [(image * 8).round() / 8 for image in scores]
    settings = [SIZE] * len(counts), score, 0.5, limit
    wanted, wanted_rows = fast_rcnn_inference(boxes, scores, *settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_waits, "_is_read_at_once", lambda device: False)
        module = "d2_modeling.roi_heads.fast_rcnn_inference"
        patch.setattr(sys.modules[module], "_PAIRS_PER_IMAGE", pairs)
        got, rows = fast_rcnn_inference(boxes, scores, *settings)
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.pred_classes, other.pred_classes)
    assert [row.tolist() for row in rows] == [row.tolist() for row in wanted_rows]


def detected(boxes: Tensor, scores: Tensor, **options: Any) -> tuple[Any, list[int]]:
    settings = {"score_thresh": 0.0, "nms_thresh": 0.5, "topk_per_image": -1, "box_dim": 4}
    result, kept = fast_rcnn_inference_single_image(boxes, scores, SIZE, **{**settings, **options})
    return result, kept.tolist()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10), st.integers(0, 10**6), st.booleans(), st.sampled_from([0.3, 0.6]))
def test_rotated_detections_are_chosen_class_by_class(
    random_rotated_boxes: Any, count: int, seed: int, agnostic: bool, iou: float
) -> None:
    _, scores = regions(count, 2, seed, True)
    boxes = torch.cat(
        [random_rotated_boxes(count, seed + kind, 30.0) for kind in range(1 if agnostic else 2)],
        dim=1,
    )
    found = []
    for kind in range(2):
        at = 0 if agnostic else 5 * kind
        own = RotatedBoxes(boxes[:, at : at + 5])
        own.clip(SIZE)
        overlaps = pairwise_iou_rotated(own, own).tolist()
        kept: list[int] = []
        for row in scores[:, kind].argsort(descending=True).tolist():
            if all(overlaps[row][other] <= iou for other in kept):
                kept.append(row)
        found += [(row, kind) for row in kept]
    found.sort(key=lambda pair: -scores[pair].item())
    result, rows = detected(boxes, scores, nms_thresh=iou, box_dim=5)
    assert list(zip(rows, result.pred_classes.tolist(), strict=True)) == found


def test_scores_have_to_be_higher_than_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]])
    scores = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])
    assert detected(boxes, scores, score_thresh=0.5)[1] == [2]
    assert detected(boxes, scores, score_thresh=0.49)[1] == [2, 1]


def test_one_region_may_be_of_several_classes() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9, 20, 20, 30, 30]])
    result, rows = detected(boxes, torch.tensor([[0.4, 0.5, 0.1]]))
    assert rows == [0, 0]
    assert result.pred_classes.tolist() == [1, 0]
    assert result.pred_boxes.tensor.tolist() == [[20, 20, 30, 30], [0, 0, 9, 9]]


def test_boxes_are_clipped_before_they_are_compared() -> None:
    """Outside they differ; within the image they are the same."""
    boxes = torch.tensor([[-90.0, 0, 10, 10], [0, -90, 10, 10]])
    result, rows = detected(boxes, torch.tensor([[0.8, 0.2], [0.9, 0.1]]))
    assert rows == [1]
    assert result.pred_boxes.tensor.tolist() == [[0, 0, 10, 10]]


def test_equal_scores_come_by_region_and_then_by_class() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29]])
    result, rows = detected(boxes, torch.full((2, 3), 0.5))
    assert rows == [0, 0, 1, 1]
    assert result.pred_classes.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_precision_choose_the_same(dtype: torch.dtype) -> None:
    boxes, scores = regions(8, 2, 3, False)
    scores = (scores * 16).round() / 16
    wanted, rows = detected(boxes, scores, score_thresh=0.25)
    got, other = detected(boxes, scores.to(dtype), score_thresh=0.25)
    assert other == rows
    assert got.scores.dtype == dtype
    assert got.pred_boxes.tensor.equal(wanted.pred_boxes.tensor)


def test_regions_in_another_order_are_detected_alike() -> None:
    boxes, scores = regions(12, 3, 5, False)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    wanted, rows = detected(boxes, scores, topk_per_image=9)
    got, other = detected(boxes[order], scores[order], topk_per_image=9)
    assert got.pred_boxes.tensor.equal(wanted.pred_boxes.tensor)
    assert got.pred_classes.equal(wanted.pred_classes)
    assert [order[row].item() for row in other] == rows


def test_classes_in_another_order_are_detected_alike() -> None:
    boxes, scores = regions(12, 3, 6, False)
    order = [2, 0, 1]
    wanted, rows = detected(boxes, scores)
    mixed = boxes.view(12, 3, 4)[:, order].flatten(1)
    got, other = detected(mixed, scores[:, [*order, 3]])
    assert other == rows
    assert [order[kind] for kind in got.pred_classes.tolist()] == wanted.pred_classes.tolist()


@pytest.mark.usefixtures("as_on_a_device")
def test_a_device_that_knows_of_more_candidates_than_it_looked_at_looks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The best pairs are of one place, of which suppression leaves one."""
    boxes = torch.tensor([[0.0, 0, 9, 9]] * 6 + [[20.0, 20, 29, 29], [40, 40, 49, 49]])
    scores = torch.linspace(0.9, 0.2, 8)[:, None].repeat(1, 2)
    module = sys.modules["d2_modeling.roi_heads.fast_rcnn_inference"]
    monkeypatch.setattr(module, "_PAIRS_PER_IMAGE", 4)
    assert detected(boxes, scores, topk_per_image=3)[1] == [0, 6, 7]
    assert detected(boxes, scores, topk_per_image=1)[1] == [0]


@pytest.mark.usefixtures("as_on_a_device")
def test_a_device_takes_the_first_of_equal_scores_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them are among the best pairs is up to torch."""
    boxes = torch.arange(8.0)[:, None] * 6 + torch.tensor([0.0, 0, 5, 5])
    module = sys.modules["d2_modeling.roi_heads.fast_rcnn_inference"]
    monkeypatch.setattr(module, "_PAIRS_PER_IMAGE", 4)
    result, rows = detected(boxes, torch.full((8, 2), 0.5), topk_per_image=3)
    assert rows == [0, 1, 2]
    assert result.pred_boxes.tensor.equal(boxes[:3])
