"""Cityscapes' metrics of instances and of pixels."""

from d2_eval.cityscapes.evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from d2_eval.cityscapes.instances import (
    CountedImage,
    PredictedMask,
    count_image,
    instance_average_precision,
)
from d2_eval.cityscapes.pixels import PixelCounts, pixel_scores

__all__ = [
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
    "CountedImage",
    "PixelCounts",
    "PredictedMask",
    "count_image",
    "instance_average_precision",
    "pixel_scores",
]
