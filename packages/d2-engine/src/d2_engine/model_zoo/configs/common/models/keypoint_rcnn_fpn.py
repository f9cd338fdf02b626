"""Keypoint R-CNN: one class, person, with keypoints instead of masks.

Source: He et al., "Mask R-CNN", 2017.
"""

from d2_config import LazyCall as L
from d2_modeling import ShapeSpec
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import KRCNNConvDeconvUpsampleHead

from .mask_rcnn_fpn import model

heads = model.roi_heads
for replaced in ("mask_in_features", "mask_pooler", "mask_head"):
    del heads[replaced]
heads.update(
    num_classes=1,
    keypoint_in_features=["p2", "p3", "p4", "p5"],
    keypoint_pooler=L(ROIPooler)(
        output_size=14,
        scales=(1.0 / 4, 1.0 / 8, 1.0 / 16, 1.0 / 32),
        sampling_ratio=0,
        pooler_type="ROIAlignV2",
    ),
    keypoint_head=L(KRCNNConvDeconvUpsampleHead)(
        input_shape=ShapeSpec(channels=256, height=14, width=14),
        num_keypoints=17,
        conv_dims=[512] * 8,
        loss_normalizer="visible",
    ),
)

# Only persons: detection uses more proposals, and a gentler box loss trains it better.
model.proposal_generator.post_nms_topk = (1500, 1000)
heads.box_predictor.smooth_l1_beta = 0.5

del heads, replaced
