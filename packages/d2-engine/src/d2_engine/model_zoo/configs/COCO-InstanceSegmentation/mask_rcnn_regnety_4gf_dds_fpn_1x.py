"""Mask R-CNN with a RegNetY-4GF FPN backbone on COCO, about 12 epochs.

Source: Radosavovic et al., "Designing Network Design Spaces", 2020.
"""

from .mask_rcnn_regnetx_4gf_dds_fpn_1x import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.backbone.bottom_up.depth = 22
model.backbone.bottom_up.w_a = 31.41
model.backbone.bottom_up.w_m = 2.24
model.backbone.bottom_up.group_width = 64
model.backbone.bottom_up.se_ratio = 0.25

train.init_checkpoint = (
    "https://dl.fbaipublicfiles.com/pycls/dds_baselines/160906838/RegNetY-4.0GF_dds_8gpu.pyth"
)
