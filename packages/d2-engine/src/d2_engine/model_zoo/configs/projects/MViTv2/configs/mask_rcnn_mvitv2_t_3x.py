"""Mask R-CNN with MViTv2-T, pretrained on ImageNet-1k; 36 epochs of COCO.

Source: Li et al., "MViTv2: Improved Multiscale Vision Transformers", 2022.
"""

from d2_config import LazyCall as L
from d2_engine import model_zoo
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler
from d2_modeling.backbone import MViT, transformer_layer_norm

from .common.coco_loader import dataloader

constants = model_zoo.get_config("common/data/constants.py").constants

model = model_zoo.get_config("common/models/mask_rcnn_fpn.py").model
model.pixel_mean = constants.imagenet_rgb256_mean
model.pixel_std = constants.imagenet_rgb256_std
model.input_format = "RGB"
model.backbone.bottom_up = L(MViT)(
    embed_dim=96,
    depth=10,
    num_heads=1,
    last_block_indexes=(0, 2, 7, 9),
    residual_pooling=True,
    drop_path_rate=0.2,
    norm_layer=transformer_layer_norm,
    out_features=("scale2", "scale3", "scale4", "scale5"),
)
model.backbone.in_features = "${.bottom_up.out_features}"

# Of 64 images each: 36 epochs of COCO's 118 000, and a little more.
_MAX_ITER = 67_500

train = model_zoo.get_config("common/train.py").train
train.max_iter = _MAX_ITER
train.amp.enabled = True
train.ddp.fp16_compression = True
train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_T_in1k.pyth"

dataloader.train.total_batch_size = 64

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[52_500, 62_500, _MAX_ITER]
    ),
    warmup_length=250 / _MAX_ITER,
    warmup_factor=0.001,
)

optimizer = model_zoo.get_config("common/optim.py").AdamW
optimizer.params.overrides = {
    name: {"weight_decay": 0.0} for name in ("pos_embed", "rel_pos_h", "rel_pos_w")
}
optimizer.lr = 1.6e-4
