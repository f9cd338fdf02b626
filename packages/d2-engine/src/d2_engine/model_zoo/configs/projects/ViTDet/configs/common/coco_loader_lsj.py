"""COCO 2017 with instance masks and large-scale jitter, in squares of 1024 pixels."""

from d2_config import LazyCall as L
from d2_data.transforms import FixedSizeCrop, RandomFlip, ResizeScale, ResizeShortestEdge
from d2_engine import model_zoo

dataloader = model_zoo.get_config("common/data/coco.py").dataloader

_SIZE = 1024

dataloader.train.mapper.update(
    augmentations=[
        L(RandomFlip)(horizontal=True),
        L(ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=_SIZE, target_width=_SIZE),
        # The model pads.
        L(FixedSizeCrop)(crop_size=(_SIZE, _SIZE), pad=False),
    ],
    image_format="RGB",
    recompute_boxes=True,  # of the parts that the crop left
)
dataloader.train.total_batch_size = 64
dataloader.test.mapper.augmentations = [
    L(ResizeShortestEdge)(short_edge_length=_SIZE, max_size=_SIZE)
]
