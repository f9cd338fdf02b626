"""The mappers that models of the documented projects are trained with."""

from collections.abc import Callable
from typing import Any

from d2_config import CfgNode
from d2_data import DatasetMapper
from d2_data.detection_utils import build_augmentation
from d2_data.panoptic import PanopticDeeplabDatasetMapper
from d2_data.transforms import Augmentation, ColorAugSSD, RandomCrop_CategoryAreaConstraint

Mapper = Callable[[Any], Any]


def project_mapper(cfg: CfgNode) -> Mapper | None:
    """Return the training mapper of a config with the options of a project, else None.

    Panoptic-DeepLab has one of its own. Semantic segmentation with ``INPUT.CROP`` crops behind the
    resizing, so that all images of a batch have the crop's size, and in a way that no class covers
    more than ``SINGLE_CATEGORY_MAX_AREA``; with ``INPUT.COLOR_AUG_SSD`` it changes colours, too.
    """
    if cfg.MODEL.META_ARCHITECTURE == "PanopticDeepLab":
        return PanopticDeeplabDatasetMapper(cfg)
    of_a_project = "SINGLE_CATEGORY_MAX_AREA" in cfg.INPUT.CROP
    if cfg.MODEL.META_ARCHITECTURE == "SemanticSegmentor" and of_a_project:
        return DatasetMapper(cfg, is_train=True, augmentations=_semantic_augmentations(cfg))
    return None


def _semantic_augmentations(cfg: CfgNode) -> list[Augmentation]:
    resize, *flips = build_augmentation(cfg, is_train=True)
    crop, steps = cfg.INPUT.CROP, [resize]
    if crop.ENABLED:
        steps.append(
            RandomCrop_CategoryAreaConstraint(
                crop.TYPE,
                crop.SIZE,
                crop.SINGLE_CATEGORY_MAX_AREA,
                cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            )
        )
    if cfg.INPUT.get("COLOR_AUG_SSD", False):
        steps.append(ColorAugSSD(cfg.INPUT.FORMAT))
    return steps + flips
