"""Pascal VOC's average precision of boxes."""

from d2_eval.pascal_voc.average_precision import (
    VocBoxes,
    VocObjects,
    area_under_curve,
    eleven_point_average,
    voc_average_precision,
)
from d2_eval.pascal_voc.evaluation import PascalVOCDetectionEvaluator

__all__ = [
    "PascalVOCDetectionEvaluator",
    "VocBoxes",
    "VocObjects",
    "area_under_curve",
    "eleven_point_average",
    "voc_average_precision",
]
