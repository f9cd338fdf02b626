"""Training data of Panoptic-DeepLab."""

from d2_data.panoptic.mapper import PanopticDeeplabDatasetMapper
from d2_data.panoptic.targets import PanopticDeepLabTargetGenerator

__all__ = ["PanopticDeepLabTargetGenerator", "PanopticDeeplabDatasetMapper"]
