"""Mask R-CNN with ViT-H; 75 epochs of COCO."""

from functools import partial

from d2_modeling.backbone import get_vit_lr_decay_rate

from .mask_rcnn_vitdet_b_100ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone.net.update(
    embed_dim=1280,
    depth=32,
    num_heads=16,
    drop_path_rate=0.5,
    # Every eighth block sees the whole image.
    window_block_indexes=[block for block in range(32) if block % 8 != 7],
)

optimizer.params.update(
    lr_factor_func=partial(get_vit_lr_decay_rate, num_layers=32, lr_decay_rate=0.9),
    weight_decay_norm=None,
    overrides={},
)

train.max_iter = train.max_iter * 3 // 4
train.init_checkpoint = (
    "detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_huge_p14to16.pth?matching_heuristics=True"
)

lr_multiplier.scheduler.milestones = [
    milestone * 3 // 4 for milestone in lr_multiplier.scheduler.milestones
]
lr_multiplier.scheduler.num_updates = train.max_iter
