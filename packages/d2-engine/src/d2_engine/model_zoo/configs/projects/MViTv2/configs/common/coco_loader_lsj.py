"""COCO 2017 with instance masks and large-scale jitter, in squares of 1024 pixels."""

from d2_config import LazyCall as L
from d2_data.transforms import FixedSizeCrop, RandomFlip, ResizeScale

from .coco_loader import dataloader

_SIZE = 1024

dataloader.train.mapper.update(
    augmentations=[
        L(RandomFlip)(horizontal=True),
        L(ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=_SIZE, target_width=_SIZE),
        L(FixedSizeCrop)(crop_size=(_SIZE, _SIZE)),
    ],
    recompute_boxes=True,  # of the parts that the crop left
)
dataloader.train.total_batch_size = 64
