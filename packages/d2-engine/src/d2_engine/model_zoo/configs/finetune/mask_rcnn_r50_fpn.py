"""Mask R-CNN R50-FPN on your own photographs, annotated in COCO's format.

    d2 train finetune/mask_rcnn_r50_fpn.py --output output/mine \
        data.train.json=train.json data.train.images=train/ \
        data.val.json=val.json data.val.images=val/ \
        train.init_checkpoint=resnet50_caffe.pth

The classes are those of the training annotations. The checkpoint is an ImageNet ResNet-50 of
the Caffe kind (BGR, stride in the 1x1 convolution), or a detector to go on from.
"""

from d2_config import LazyCall as L
from d2_data.transforms import RandomFlip, ResizeShortestEdge
from d2_engine.solver import CosineParamScheduler, WarmupParamScheduler

from ..common.data.coco import dataloader
from ..common.models.mask_rcnn_fpn import model
from ..common.optim import AdamW as optimizer
from ..common.train import train

# The recipe: few photographs, a backbone that has seen many.
train_sizes = (352, 384, 416, 448)
test_size = 416
max_size = 640
batch_size = 2
max_iter = 450
base_lr = 2e-4
weight_decay = 0.05
warmup_iter = 50
freeze_at = 2
roi_samples = 128

train.update(
    output_dir="output/finetune",
    max_iter=max_iter,
    eval_period=0,
    log_period=10,
    device="auto",
    channels_last=True,
    amp={"enabled": "auto"},
    seed=1,
    checkpointer={"period": 100, "max_to_keep": 2},
)

# Named on the command line, by data.train.json=… and so on.
dataloader.train.dataset.names = None
dataloader.test.dataset.names = None
dataloader.train.mapper.augmentations = [
    L(ResizeShortestEdge)(short_edge_length=train_sizes, sample_style="choice", max_size=max_size),
    L(RandomFlip)(horizontal=True),
]
dataloader.train.total_batch_size = batch_size
dataloader.train.num_workers = 2
dataloader.test.mapper.augmentations = [
    L(ResizeShortestEdge)(short_edge_length=test_size, max_size=max_size)
]
dataloader.test.num_workers = 2

model.backbone.bottom_up.freeze_at = freeze_at
model.roi_heads.num_classes = None  # taken from the training annotations
model.pixel_mean = [103.939, 116.779, 123.68]

model.roi_heads.batch_size_per_image = roi_samples

optimizer.lr = base_lr
optimizer.weight_decay = weight_decay
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.01),
    warmup_factor=0.01,
    warmup_length=warmup_iter / max_iter,
)
