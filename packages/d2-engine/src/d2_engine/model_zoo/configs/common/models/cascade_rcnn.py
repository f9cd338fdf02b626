"""Cascade Mask R-CNN: three box heads in a row, each more demanding.

Source: Cai and Vasconcelos, "Cascade R-CNN", 2018.
"""

from d2_config import LazyCall as L
from d2_modeling import ShapeSpec
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.matcher import Matcher
from d2_modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead, FastRCNNOutputLayers

from .mask_rcnn_fpn import model

heads = model.roi_heads
for replaced in ("box_head", "box_predictor", "proposal_matcher"):
    del heads[replaced]
heads.update(
    _target_=CascadeROIHeads,
    box_heads=[
        L(FastRCNNConvFCHead)(
            input_shape=ShapeSpec(channels=256, height=7, width=7),
            conv_dims=[],
            fc_dims=[1024, 1024],
        )
        for _ in range(3)
    ],
    box_predictors=[
        L(FastRCNNOutputLayers)(
            input_shape=ShapeSpec(channels=1024),
            test_score_thresh=0.05,
            box2box_transform=L(Box2BoxTransform)(weights=(w1, w1, w2, w2)),
            cls_agnostic_bbox_reg=True,
            num_classes="${...num_classes}",
        )
        for w1, w2 in ((10, 5), (20, 10), (30, 15))
    ],
    proposal_matchers=[
        L(Matcher)(thresholds=[threshold], labels=[0, 1], allow_low_quality_matches=False)
        for threshold in (0.5, 0.6, 0.7)
    ],
)

del heads, replaced
