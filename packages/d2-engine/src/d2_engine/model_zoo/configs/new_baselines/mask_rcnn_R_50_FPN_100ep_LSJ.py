"""Mask R-CNN R50-FPN from random weights, with large-scale jitter; 100 epochs.

Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation", 2020.
"""

from d2_config import LazyCall as L
from d2_data.transforms import FixedSizeCrop, RandomFlip, ResizeScale
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler

from ..common.data.coco import dataloader
from ..common.models.mask_rcnn_fpn import model
from ..common.optim import SGD as optimizer
from ..common.train import train

image_size = 1024
# Of 64 images each: 100 epochs of COCO's 118 000.
max_iter = 184_375
warmup_iter = 500

dataloader.train.mapper.augmentations = [
    L(ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=image_size, target_width=image_size),
    L(FixedSizeCrop)(crop_size=(image_size, image_size)),
    L(RandomFlip)(horizontal=True),
]
dataloader.train.mapper.recompute_boxes = True  # of the parts that the crop left
dataloader.train.total_batch_size = 64

# Nothing is pretrained, so nothing is frozen, and normalisation learns with the rest.
model.backbone.bottom_up.freeze_at = 0
model.backbone.bottom_up.stem.norm = "SyncBN"
model.backbone.bottom_up.stages.norm = "SyncBN"
model.backbone.norm = "SyncBN"
model.proposal_generator.head.conv_dims = [-1, -1]
model.roi_heads.box_head.conv_dims = [256, 256, 256, 256]
model.roi_heads.box_head.fc_dims = [1024]
# Processes have different numbers of regions, some none: statistics weigh them by number.
model.roi_heads.box_head.conv_norm = "naiveSyncBN_N"
model.roi_heads.mask_head.conv_norm = "naiveSyncBN_N"

optimizer.lr = 0.1
optimizer.weight_decay = 4e-5
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[163_889, 177_546], num_updates=max_iter
    ),
    warmup_length=warmup_iter / max_iter,
    warmup_factor=0.067,
)

train.max_iter = max_iter
train.amp.enabled = True
train.ddp.fp16_compression = True

del image_size, max_iter, warmup_iter
