import json

import numpy as np
import pytest
import torch

from d2_eval import instances_to_coco_json
from d2_ops.host import rle_decode
from d2_structures import Boxes, Instances


def test_boxes_become_xywh_with_score_and_class(detections):
    (result,) = instances_to_coco_json(detections((10, 20, 30, 60, 0.5, 1)), 7)
    assert result == {"image_id": 7, "category_id": 1, "bbox": [10, 20, 20, 40], "score": 0.5}


def test_masks_become_run_lengths_that_json_can_hold(detections):
    instances = detections((10, 20, 30, 60, 0.5, 1), (0, 0, 5, 5, 0.4, 0), masks=True)
    results = json.loads(json.dumps(instances_to_coco_json(instances, 7)))
    for result, mask in zip(results, instances.pred_masks, strict=True):
        rle = {**result["segmentation"], "counts": result["segmentation"]["counts"].encode()}
        np.testing.assert_array_equal(rle_decode(rle).astype(bool), mask.numpy())


def test_keypoints_become_pixel_indices_and_stay_as_they_are(detections):
    instances = detections((10, 20, 30, 60, 0.5, 1))
    instances.pred_keypoints = torch.tensor([[[10.5, 20.5, 0.9], [30.0, 40.0, 0.1]]])
    before = instances.pred_keypoints.clone()
    (result,) = instances_to_coco_json(instances, 7)
    assert result["keypoints"] == pytest.approx([10, 20, 0.9, 29.5, 39.5, 0.1])
    assert torch.equal(instances.pred_keypoints, before)


def test_no_instances_give_no_results(detections):
    assert instances_to_coco_json(detections(masks=True), 7) == []


def test_a_missing_field_is_named():
    instances = Instances((80, 100))
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 0, 1, 1]]))
    with pytest.raises(ValueError, match="image 7 lack 'scores'"):
        instances_to_coco_json(instances, 7)


def test_scores_that_are_not_finite_are_an_error(detections):
    with pytest.raises(ValueError, match=r"image 7 .* not finite"):
        instances_to_coco_json(detections((0, 0, 1, 1, float("nan"), 0)), 7)
