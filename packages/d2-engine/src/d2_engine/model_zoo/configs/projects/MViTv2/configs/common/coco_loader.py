"""COCO 2017 with instance masks: several sizes, and crops half of the time."""

from d2_config import LazyCall as L
from d2_data.transforms import (
    AugmentationList,
    RandomApply,
    RandomCrop,
    RandomFlip,
    ResizeShortestEdge,
)
from d2_engine import model_zoo

dataloader = model_zoo.get_config("common/data/coco.py").dataloader

dataloader.train.mapper.update(
    augmentations=[
        L(RandomApply)(
            tfm_or_aug=L(AugmentationList)(
                augs=[
                    L(ResizeShortestEdge)(short_edge_length=[400, 500, 600], sample_style="choice"),
                    L(RandomCrop)(crop_type="absolute_range", crop_size=(384, 600)),
                ]
            ),
            prob=0.5,
        ),
        L(ResizeShortestEdge)(
            short_edge_length=list(range(480, 801, 32)), sample_style="choice", max_size=1333
        ),
        L(RandomFlip)(horizontal=True),
    ],
    image_format="RGB",
)
