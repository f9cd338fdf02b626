"""Predictions for every anchor: layout, choice and suppression."""

import pytest
import torch

from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.dense.selection import (
    Candidates,
    best_of_level,
    detections_of_levels,
    per_anchor,
)


def test_predictions_are_ordered_by_row_column_and_anchor() -> None:
    anchors, size, height, width = 2, 3, 4, 5
    x = torch.arange(2 * anchors * size * height * width).view(2, anchors * size, height, width)
    flat = per_anchor(x, size)
    assert flat.shape == (2, height * width * anchors, size)
    for image, row, column, anchor in [(0, 0, 0, 1), (1, 3, 2, 0), (1, 2, 4, 1)]:
        index = (row * width + column) * anchors + anchor
        channels = slice(anchor * size, (anchor + 1) * size)
        assert torch.equal(flat[image, index], x[image, channels, row, column])


def test_only_the_best_pairs_of_anchor_and_class_are_decoded() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 1, 1]])
    scores = torch.tensor([[[0.3, 0.9], [0.8, 0.05], [torch.nan, 0.7]]])
    best = best_of_level(
        anchors,
        scores,
        torch.zeros(1, 3, 4),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
        topk=2,
    )
    torch.testing.assert_close(best.scores, torch.tensor([[0.9, 0.8]]))
    assert best.classes.tolist() == [[1, 0]]
    assert torch.equal(best.boxes[0], anchors[:2])


@pytest.mark.parametrize("topk", [1, 7, 30, 1000])
def test_the_best_pairs_of_each_image_are_those_of_all_scores_sorted(topk: int) -> None:
    scores = torch.randn(3, 11, 5, generator=torch.Generator().manual_seed(0))
    anchors = torch.arange(11.0)[:, None] + torch.tensor([0.0, 0, 2, 2])
    best = best_of_level(
        anchors,
        scores,
        torch.zeros(3, 11, 4),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
        topk=topk,
    )
    wanted, pairs = scores.flatten(1).sort(dim=1, descending=True)
    assert torch.equal(best.scores, wanted[:, :topk])
    assert torch.equal(best.classes, pairs[:, :topk] % 5)
    assert torch.equal(best.boxes, anchors[pairs[:, :topk] // 5])


def test_repetitions_are_suppressed_within_a_class_of_an_image_across_levels() -> None:
    box = torch.tensor([[[0.0, 0, 10, 10]]]).expand(2, -1, -1)
    scores = [[0.5, 0.3], [0.9, 0.01], [0.7, 0.2]]
    levels = [
        Candidates(box, torch.tensor(level)[:, None], torch.full((2, 1), label))
        for level, label in zip(scores, (0, 0, 1), strict=True)
    ]
    levels.append(Candidates(box[:, :0], torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.int64)))
    options = {"num_classes": 2, "score_thresh": 0.1, "nms_thresh": 0.5}
    options["image_sizes"] = torch.full((2, 2), 20)
    found = detections_of_levels(levels, **options, max_detections=10)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.3, 0.2]))
    assert found.classes.tolist() == [0, 1, 0, 1]
    assert found.batch_index.tolist() == [0, 0, 1, 1]
    found = detections_of_levels(levels, **options, max_detections=1)
    assert found.batch_index.tolist() == [0, 1]
