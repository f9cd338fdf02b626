"""FCOS: RetinaNet's pyramid, with one point in place of nine anchors.

Source: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019.
"""

from d2_modeling.meta_arch import FCOS, FCOSHead

from .retinanet import model

for replaced in ("anchor_generator", "anchor_matcher", "box2box_transform", "input_format"):
    del model[replaced]
del model.head.num_anchors
model.backbone.top_block.update(in_channels=256, in_feature="p5")
model.head.update(_target_=FCOSHead, norm="GN")
model.update(_target_=FCOS, test_score_thresh=0.2, test_nms_thresh=0.6)

del replaced
