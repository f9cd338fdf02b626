"""Cascade Mask R-CNN with MViTv2-H; 36 epochs of COCO."""

from d2_config import LazyCall as L
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler

from .cascade_mask_rcnn_mvitv2_b_in21k_100ep import dataloader, model, optimizer, train

model.backbone.bottom_up.update(
    embed_dim=192,
    depth=80,
    num_heads=3,
    last_block_indexes=(3, 11, 71, 79),
    drop_path_rate=0.6,
    use_act_checkpoint=True,
)

# Of 64 images each: 36 epochs of COCO's 118 000, and a little more.
_MAX_ITER = 67_500

train.max_iter = _MAX_ITER
train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_H_in21k.pyth"

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[52_500, 62_500, _MAX_ITER]
    ),
    warmup_length=250 / _MAX_ITER,
    warmup_factor=0.001,
)

optimizer.lr = 1.6e-4
