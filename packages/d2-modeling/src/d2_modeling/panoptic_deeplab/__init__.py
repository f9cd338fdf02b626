"""Panoptic-DeepLab: panoptic segmentation from class, centre and offset of each pixel.

Source: Cheng et al., "Panoptic-DeepLab", 2020.
"""

from .config import add_panoptic_deeplab_config
from .heads import (
    INS_EMBED_BRANCHES_REGISTRY,
    PanopticDeepLabInsEmbedHead,
    PanopticDeepLabSemSegHead,
    build_ins_embed_branch,
)
from .model import PanopticDeepLab
from .post_processing import find_instance_center, get_panoptic_segmentation

__all__ = [
    "INS_EMBED_BRANCHES_REGISTRY",
    "PanopticDeepLab",
    "PanopticDeepLabInsEmbedHead",
    "PanopticDeepLabSemSegHead",
    "add_panoptic_deeplab_config",
    "build_ins_embed_branch",
    "find_instance_center",
    "get_panoptic_segmentation",
]
