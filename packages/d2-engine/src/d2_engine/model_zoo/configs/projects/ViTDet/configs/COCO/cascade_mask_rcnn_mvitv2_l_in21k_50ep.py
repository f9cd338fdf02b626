"""Cascade Mask R-CNN with MViTv2-L; 50 epochs of COCO."""

from .cascade_mask_rcnn_mvitv2_b_in21k_100ep import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.backbone.bottom_up.update(
    embed_dim=144,
    depth=48,
    num_heads=2,
    last_block_indexes=(1, 7, 43, 47),
    drop_path_rate=0.5,
)

train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_L_in21k.pyth"
train.max_iter //= 2

lr_multiplier.scheduler.milestones = [
    milestone // 2 for milestone in lr_multiplier.scheduler.milestones
]
lr_multiplier.scheduler.num_updates = train.max_iter
