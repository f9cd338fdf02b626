"""Cascade Mask R-CNN with MViTv2-L and large-scale jitter; 50 epochs of COCO."""

from d2_config import LazyCall as L
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler

from .cascade_mask_rcnn_mvitv2_b_in21k_3x import model, optimizer, train
from .common.coco_loader_lsj import dataloader

model.backbone.bottom_up.update(
    embed_dim=144,
    depth=48,
    num_heads=2,
    last_block_indexes=(1, 7, 43, 47),
    drop_path_rate=0.5,
)

# Of 64 images each: 50 epochs of COCO's 118 000.
_MAX_ITER = 92_187

train.max_iter = _MAX_ITER
train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_L_in21k.pyth"

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[81_944, 88_773], num_updates=_MAX_ITER
    ),
    warmup_length=250 / _MAX_ITER,
    warmup_factor=0.001,
)

optimizer.lr = 1e-4
