"""Predictions for every anchor: layout, choice and suppression."""

import torch

from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.dense_predictions import best_boxes_of_level, detections_of_levels, per_anchor
from d2_structures import Boxes


def test_predictions_are_ordered_by_row_column_and_anchor() -> None:
    anchors, size, height, width = 2, 3, 4, 5
    x = torch.arange(2 * anchors * size * height * width).view(2, anchors * size, height, width)
    flat = per_anchor(x, size)
    assert flat.shape == (2, height * width * anchors, size)
    for image, row, column, anchor in [(0, 0, 0, 1), (1, 3, 2, 0), (1, 2, 4, 1)]:
        index = (row * width + column) * anchors + anchor
        channels = slice(anchor * size, (anchor + 1) * size)
        assert torch.equal(flat[image, index], x[image, channels, row, column])


def test_only_the_best_scores_above_the_threshold_are_decoded() -> None:
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]]))
    scores = torch.tensor([[0.3, 0.9], [0.8, 0.05]])
    boxes, chosen, classes = best_boxes_of_level(
        anchors,
        scores,
        torch.zeros(2, 4),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
        score_thresh=0.1,
        topk=2,
    )
    torch.testing.assert_close(chosen, torch.tensor([0.9, 0.8]))
    assert classes.tolist() == [1, 0]
    assert torch.equal(boxes, anchors.tensor)


def test_repetitions_are_suppressed_within_a_class_across_levels() -> None:
    box = torch.tensor([[0.0, 0, 10, 10]])
    one, other = torch.tensor([0]), torch.tensor([1])
    levels = [
        (box, torch.tensor([0.5]), one),
        (box, torch.tensor([0.9]), one),
        (box, torch.tensor([0.7]), other),
        (box[:0], torch.zeros(0), one[:0]),
    ]
    found = detections_of_levels(levels, (20, 20), nms_thresh=0.5, max_detections=10)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7]))
    assert found.pred_classes.tolist() == [0, 1]
    found = detections_of_levels(levels, (20, 20), nms_thresh=0.5, max_detections=1)
    assert len(found) == 1
