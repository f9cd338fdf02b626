"""Cascade Mask R-CNN with Swin-B, as ViTDet is compared with it; 50 epochs of COCO."""

from d2_config import LazyCall as L
from d2_modeling.backbone import FPN, LastLevelMaxPool, SwinTransformer

from .cascade_mask_rcnn_vitdet_b_100ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = L(FPN)(
    bottom_up=L(SwinTransformer)(
        depths=[2, 2, 18, 2],
        drop_path_rate=0.4,
        embed_dim=128,
        num_heads=[4, 8, 16, 32],
    ),
    in_features=("p0", "p1", "p2", "p3"),
    out_channels=256,
    top_block=L(LastLevelMaxPool)(),
    square_pad=1024,
    norm="LN",
)

train.init_checkpoint = "detectron2://ImageNetPretrained/swin/swin_base_patch4_window7_224_22k.pth"
train.max_iter //= 2

lr_multiplier.scheduler.milestones = [
    milestone // 2 for milestone in lr_multiplier.scheduler.milestones
]
lr_multiplier.scheduler.num_updates = train.max_iter

del optimizer.params.lr_factor_func
optimizer.params.overrides = {"relative_position_bias_table": {"weight_decay": 0.0}}
optimizer.lr = 4e-5
optimizer.weight_decay = 0.05
