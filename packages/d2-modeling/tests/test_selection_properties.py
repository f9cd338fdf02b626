"""What the choice of boxes of a batch depends on, and the parts it is made of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.batched_selection import (
    Detections,
    Kept,
    Regions,
    batch_index_of,
    clipped_to_images,
    counts_per_image,
    detections_of_images,
    nonempty,
    rows_where,
    sizes_as_tensor,
    suppressed,
)
from d2_modeling.box_kinds import box_kind
from d2_modeling.detection_fields import INSTANCE_FIELDS, instances_of
from d2_modeling.export.quiet import quiet_torchscript
from d2_modeling.host_waits import remembered
from d2_structures import Boxes, Instances, RotatedBoxes, pairwise_iou_rotated

Draw = Callable[..., Tensor]


def kept_rows(
    boxes: Tensor,
    scores: Tensor,
    *,
    images: Tensor | None = None,
    categories: Tensor | None = None,
    **options: Any,
) -> tuple[list[int], list[int] | None]:
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    images = zeros if images is None else images
    categories = zeros if categories is None else categories
    defaults = {"num_images": 1, "num_categories": 1, "nms_thresh": 0.5, "limit": -1}
    kept = suppressed(boxes, scores, categories, images, **{**defaults, **options})
    rows, counts, _ = kept.on_host()
    return rows.tolist(), counts


def scores_of(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randperm(count, generator=generator) + 1).float() / (count + 1)


@given(st.integers(0, 12), st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]))
@settings(max_examples=25, deadline=None)
def test_rotated_boxes_are_suppressed_by_their_own_overlaps(
    random_rotated_boxes: Draw, count: int, seed: int, thresh: float
) -> None:
    boxes, scores = random_rotated_boxes(count, seed, 30.0), scores_of(count, seed)
    overlaps = pairwise_iou_rotated(RotatedBoxes(boxes), RotatedBoxes(boxes)).tolist()
    wanted: list[int] = []
    for row in scores.argsort(descending=True).tolist():
        if all(overlaps[row][other] <= thresh for other in wanted):
            wanted.append(row)
    rows, counts = kept_rows(boxes, scores, nms_thresh=thresh)
    assert rows == wanted
    assert counts == [len(wanted)]


def test_equal_scores_stay_in_input_order(random_boxes: Draw) -> None:
    boxes = random_boxes(9)
    scores = torch.tensor([0.5, 0.9, 0.5, 0.9, 0.5, 0.1, 0.9, 0.5, 0.1])
    rows, _ = kept_rows(boxes, scores, nms_thresh=1.0)
    assert rows == [1, 3, 6, 0, 2, 4, 7, 5, 8]
    assert kept_rows(boxes, scores, nms_thresh=1.0, limit=4)[0] == [1, 3, 6, 0]


def test_of_equal_boxes_with_equal_scores_the_first_stays() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(4, 1)
    assert kept_rows(boxes, torch.full((4,), 0.5)) == ([0], [1])


def test_an_overlap_of_the_threshold_is_allowed() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])  # one half of the other
    assert kept_rows(boxes, torch.tensor([0.9, 0.8]), nms_thresh=0.5)[0] == [0, 1]
    assert kept_rows(boxes, torch.tensor([0.9, 0.8]), nms_thresh=0.4999)[0] == [0]


def test_what_is_suppressed_suppresses_nothing() -> None:
    """The third overlaps only the second, which the first drops."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18]])
    rows, _ = kept_rows(boxes, torch.tensor([0.9, 0.8, 0.7]), nms_thresh=0.4)
    assert rows == [0, 2]


def test_categories_and_images_are_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(4, 1)
    scores = torch.tensor([0.6, 0.7, 0.8, 0.9])
    apart = torch.tensor([0, 0, 1, 1])
    rows, counts = kept_rows(boxes, scores, categories=apart, num_categories=2)
    assert (rows, counts) == ([3, 1], [2])
    rows, counts = kept_rows(boxes, scores, images=apart, num_images=3)
    assert (rows, counts) == ([1, 3], [1, 1, 0])


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([-1, 2]),
)
@settings(max_examples=20, deadline=None)
def test_each_image_keeps_what_it_keeps_alone(
    random_boxes: Draw, counts: list[int], seed: int, limit: int
) -> None:
    total = sum(counts)
    boxes, scores = random_boxes(total, seed, 30.0), scores_of(total, seed)
    images = batch_index_of(counts, boxes.device)
    rows, kept_counts = kept_rows(boxes, scores, images=images, num_images=len(counts), limit=limit)
    wanted, start = [], 0
    for count in counts:
        own = slice(start, start + count)
        alone, _ = kept_rows(boxes[own], scores[own], limit=limit)
        wanted.append([row + start for row in alone])
        start += count
    assert rows == [row for image in wanted for row in image]
    assert kept_counts == [len(image) for image in wanted]


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_the_choice_knows_no_scale(factor: float, random_boxes: Draw) -> None:
    boxes, scores = random_boxes(30, 3, 40.0), scores_of(30, 3)
    assert kept_rows(boxes * factor, scores) == kept_rows(boxes, scores)
    assert kept_rows(boxes, scores * factor) == kept_rows(boxes, scores)


@pytest.mark.parametrize("values", [4, 5])
def test_nothing_to_choose_from_gives_nothing(values: int) -> None:
    boxes, scores = torch.zeros(0, values), torch.zeros(0)
    assert kept_rows(boxes, scores, num_images=3) == ([], [0, 0, 0])
    assert kept_rows(boxes, scores, num_images=0) == ([], [])
    valid = torch.zeros(0, dtype=torch.bool)
    assert kept_rows(boxes, scores, num_images=1, valid=valid) == ([], [0])


def test_nothing_that_counts_gives_nothing(random_boxes: Draw) -> None:
    valid = torch.zeros(6, dtype=torch.bool)
    assert kept_rows(random_boxes(6), scores_of(6, 0), valid=valid) == ([], [0])


def test_a_graph_keeps_what_the_host_keeps(random_boxes: Draw) -> None:
    boxes, scores = random_boxes(12, 1, 30.0), scores_of(12, 1)
    images, categories = torch.arange(12) % 2, torch.arange(12) % 3
    valid = torch.arange(12) != 4

    def rows(b: Tensor, s: Tensor) -> Tensor:
        kept = suppressed(
            *(b, s, categories, images),
            num_images=2,
            num_categories=3,
            nms_thresh=0.3,
            limit=4,
            valid=valid,
        )
        found, counts, known = kept.on_host(lambda: torch.tensor(True))
        assert counts is None
        assert known == []
        assert kept.taken().all()
        return found

    with quiet_torchscript():
        traced = torch.jit.trace(rows, (boxes, scores), check_trace=False)
    wanted, _ = kept_rows(
        *(boxes, scores),
        images=images,
        categories=categories,
        num_images=2,
        num_categories=3,
        nms_thresh=0.3,
        limit=4,
        valid=valid,
    )
    assert traced(boxes, scores).tolist() == wanted


def test_facts_come_with_the_counts_in_their_order() -> None:
    kept = Kept(torch.tensor([2, 0, 1]), torch.tensor([1, 1]))
    assert kept.taken().tolist() == [True, True, False]
    facts = [lambda flag=flag: torch.tensor(flag) for flag in (True, False, True)]
    rows, counts, known = kept.on_host(*facts)
    assert (rows.tolist(), counts, known) == ([2, 0], [1, 1], [True, False, True])


def test_only_boxes_that_are_kept_have_to_last() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 5, 9], [2, 2, 8, 8]])
    sizes = torch.tensor([[20, 20]]).expand(3, 2)
    kept = Kept(torch.tensor([0, 2, 1]), torch.tensor([2]))
    assert kept.all_last(boxes, sizes)
    assert not Kept(kept.rows, torch.tensor([3])).all_last(boxes, sizes)


@given(st.lists(st.lists(st.booleans(), max_size=9), max_size=4))
@settings(max_examples=30, deadline=None)
def test_rows_are_where_masks_are_true(masks: list[list[bool]]) -> None:
    rows = rows_where([torch.tensor(mask, dtype=torch.bool) for mask in masks])
    assert [found.tolist() for found in rows] == [
        [row for row, flag in enumerate(mask) if flag] for mask in masks
    ]
    assert all(found.dtype == torch.int64 for found in rows)


def test_clipping_leaves_inner_boxes_and_the_input_alone(random_boxes: Draw) -> None:
    boxes = random_boxes(8, 0, 50.0)
    inner = clipped_to_images(boxes, torch.tensor([[200, 300]]).expand(8, 2))
    assert inner.equal(boxes)
    outside = boxes - 30
    before = outside.clone()
    once = clipped_to_images(outside, torch.tensor([[20, 30]]).expand(8, 2))
    assert outside.equal(before)
    assert clipped_to_images(once, torch.tensor([[20, 30]]).expand(8, 2)).equal(once)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("values", [4, 5])
def test_clipping_keeps_the_precision_of_boxes(values: int, dtype: torch.dtype) -> None:
    boxes = torch.tensor([[-5.0, -5, 50, 40, 0.5]])[:, :values].to(dtype)
    clipped = clipped_to_images(boxes, torch.tensor([[20, 30]]))
    assert clipped.dtype == dtype
    assert clipped[0, :4].tolist() == ([0, 0, 30, 20] if values == 4 else [10, 7.5, 20, 15])


def test_clipping_makes_no_side_longer() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2000, 5, generator=generator) * torch.tensor([900, 900, 50, 50, 0.5])
    clipped = clipped_to_images(boxes, torch.tensor([[1000, 1000]]).expand(2000, 2))
    assert (clipped[:, 2:4] <= boxes[:, 2:4]).all()


def test_boxes_turned_by_more_than_a_degree_are_not_clipped() -> None:
    boxes = torch.tensor([[0.0, 0, 20, 20, angle] for angle in (1.0, 1.01, -1.0, -2.0, 359.5)])
    clipped = clipped_to_images(boxes, torch.tensor([[50, 50]]).expand(5, 2))
    assert (clipped[:, 2] < 20).tolist() == [True, False, True, False, True]
    assert clipped[4, 4] == -0.5


@pytest.mark.parametrize("values", [4, 5])
def test_sides_are_those_of_the_boxes_structure(values: int, random_rotated_boxes: Draw) -> None:
    kind = box_kind(values)
    boxes = random_rotated_boxes(7)[:, :values]
    sides = kind.sides(boxes)
    assert sides.shape == (7, 2)
    torch.testing.assert_close(sides.prod(dim=1), kind.boxes(boxes).area())
    for threshold in (0.0, 9.0, 25.0):
        assert nonempty(boxes, threshold).equal(kind.boxes(boxes).nonempty(threshold))


@pytest.mark.parametrize("values", [0, 3, 6])
def test_another_number_of_values_is_named(values: int) -> None:
    with pytest.raises(ValueError, match=rf"4 values or, if rotated, 5; got {values}"):
        box_kind(values)
    with pytest.raises(ValueError, match=f"got {values}"):
        nonempty(torch.zeros(2, values))


@pytest.mark.parametrize("values", [4, 5])
def test_both_forms_of_suppression_of_a_kind_agree(
    values: int, random_boxes: Draw, random_rotated_boxes: Draw
) -> None:
    draw = random_boxes if values == 4 else random_rotated_boxes
    boxes, scores, groups = draw(20, 2, 30.0), scores_of(20, 2), torch.arange(20) % 2
    kind = box_kind(values)
    kept = kind.batched_nms(boxes, scores, groups, 0.4)
    order, marks = kind.batched_nms_of_all(boxes, scores, groups, 0.4)
    assert sorted(order.tolist()) == list(range(20))
    assert order[marks].tolist() == kept.tolist()
    assert 0 < len(kept) < 20


@pytest.mark.parametrize("values", [4, 5])
def test_detections_of_images_have_boxes_of_their_kind(values: int) -> None:
    found = Detections(
        boxes=torch.ones(3, values),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        classes=torch.tensor([1, 0, 2]),
        batch_index=torch.tensor([0, 0, 1]),
        source=torch.arange(3),
    )
    assert list(counts_per_image(found, 3)) == [2, 1, 0]
    first, second = detections_of_images(found, [(4, 5), (6, 7)], [2, 1])
    assert type(first.pred_boxes) is (Boxes if values == 4 else RotatedBoxes)
    assert first.scores.tolist() == pytest.approx([0.9, 0.8])
    assert second.pred_classes.tolist() == [2]
    assert remembered(first.pred_boxes.tensor) is None
    lasting = detections_of_images(found._replace(lasting=True), [(4, 5), (6, 7)], [2, 1])
    assert all(remembered(image.pred_boxes.tensor) is True for image in lasting)


def test_no_images_are_no_detections() -> None:
    none = torch.zeros(0)
    found = Detections(torch.zeros(0, 4), none, none.long(), none.long(), none.long())
    assert counts_per_image(found, 0) == []
    assert detections_of_images(found, [], []) == []
    assert batch_index_of([], torch.device("cpu")).tolist() == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_the_images_number_comes_first_in_the_precision_of_boxes(dtype: torch.dtype) -> None:
    for values in (4, 5):
        regions = Regions(torch.ones(2, values, dtype=dtype), torch.ones(2), torch.tensor([0, 7]))
        assert regions.rois().dtype == dtype
        assert regions.rois()[:, 0].tolist() == [0, 7]


def test_sizes_of_a_trace_are_stacked() -> None:
    sizes = [torch.tensor([3, 4]), torch.tensor([5, 6])]
    rows = sizes_as_tensor(sizes, torch.zeros(1, dtype=torch.float64))
    assert rows.dtype == torch.float64
    assert rows.tolist() == [[3, 4], [5, 6]]


def graph_outputs(count: int, values: int = 4) -> dict[str, Tensor]:
    return {
        "boxes": torch.ones(count, values),
        "scores": torch.linspace(1, 0, count),
        "classes": torch.arange(count),
        "image_index": torch.zeros(count, dtype=torch.int64),  # no field
    }


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("values", [4, 5])
def test_outputs_of_a_graph_become_fields_of_instances(count: int, values: int) -> None:
    outputs = graph_outputs(count, values)
    found = instances_of(outputs, (30, 40))
    assert found.image_size == (30, 40)
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes"}
    assert type(found.pred_boxes) is (Boxes if values == 4 else RotatedBoxes)
    assert found.scores is outputs["scores"]
    assert len(found) == count


def test_all_fields_that_graphs_have_are_kept() -> None:
    outputs = graph_outputs(2)
    outputs["mask_probabilities"] = torch.rand(2, 1, 4, 4)
    outputs["keypoints"] = torch.rand(2, 5, 3)
    found: Instances = instances_of(outputs, (30, 40))
    assert set(found.get_fields()) == set(INSTANCE_FIELDS.values())
    assert found.pred_masks is outputs["mask_probabilities"]
    assert found.pred_keypoints is outputs["keypoints"]


def test_boxes_of_a_graph_have_four_or_five_values() -> None:
    with pytest.raises(ValueError, match="got 7"):
        instances_of(graph_outputs(2, 7), (30, 40))
