"""Mask R-CNN with ViT-B, pretrained as a masked autoencoder; 100 epochs of COCO.

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", 2022.
"""

from functools import partial

from d2_config import LazyCall as L
from d2_engine import model_zoo
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler
from d2_modeling.backbone import get_vit_lr_decay_rate

from ..common.coco_loader_lsj import dataloader

model = model_zoo.get_config("common/models/mask_rcnn_vitdet.py").model

# Of 64 images each: 100 epochs of COCO's 118 000.
_MAX_ITER = 184_375

train = model_zoo.get_config("common/train.py").train
train.max_iter = _MAX_ITER
train.amp.enabled = True
train.ddp.fp16_compression = True
train.init_checkpoint = (
    "detectron2://ImageNetPretrained/MAE/mae_pretrain_vit_base.pth?matching_heuristics=True"
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[163_889, 177_546], num_updates=_MAX_ITER
    ),
    warmup_length=250 / _MAX_ITER,
    warmup_factor=0.001,
)

# The closer a block is to the image, the less it is changed.
optimizer = model_zoo.get_config("common/optim.py").AdamW
optimizer.params.lr_factor_func = partial(get_vit_lr_decay_rate, num_layers=12, lr_decay_rate=0.7)
optimizer.params.overrides = {"pos_embed": {"weight_decay": 0.0}}
