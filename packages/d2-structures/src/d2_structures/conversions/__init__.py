"""`Instances` to and from NumPy arrays, COCO annotations, torchvision and supervision.

Whatever the other side, the same fields are read and made: those of the documented formats.

==============  =============================  ===============================
what            predictions                    ground truth
==============  =============================  ===============================
boxes           ``pred_boxes``                 ``gt_boxes``
classes         ``pred_classes``               ``gt_classes``
scores          ``scores``                     —
masks           ``pred_masks``, (N, H, W)      ``gt_masks``
keypoints       ``pred_keypoints``, (N, K, 3)  ``gt_keypoints``
==============  =============================  ===============================

Boxes are `Boxes` or `RotatedBoxes`, classes int64, scores float32. Masks and keypoints of
predictions are tensors, those of ground truth `PolygonMasks`, `BitMasks` and `Keypoints`.
`Instances.numpy` gives arrays, `instances_from_numpy` takes them.
"""

from .coco import instances_from_coco, instances_to_coco, predictions_to_coco_results
from .numpy_arrays import instances_from_numpy
from .supervision_detections import instances_from_supervision, instances_to_supervision
from .tv_tensors import instances_from_tv_tensors, instances_to_tv_tensors

__all__ = [
    "instances_from_coco",
    "instances_from_numpy",
    "instances_from_supervision",
    "instances_from_tv_tensors",
    "instances_to_coco",
    "instances_to_supervision",
    "instances_to_tv_tensors",
    "predictions_to_coco_results",
]
