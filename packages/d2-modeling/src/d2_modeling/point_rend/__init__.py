"""PointRend: masks that are refined point by point, where they are uncertain.

Source: Kirillov et al., "PointRend: Image Segmentation as Rendering", 2020; Cheng et al.,
"Pointly-Supervised Instance Segmentation", 2022, for Implicit PointRend.
"""

from .config import add_pointrend_config
from .implicit import ImplicitPointHead, ImplicitPointRendMaskHead
from .mask_head import CoarseMaskHead, PointRendMaskHead
from .point_features import (
    generate_regular_grid_point_coords,
    get_point_coords_wrt_image,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    point_sample_fine_grained_features,
    sample_point_labels,
)
from .point_head import (
    POINT_HEAD_REGISTRY,
    StandardPointHead,
    build_point_head,
    roi_mask_point_loss,
)
from .semantic import PointRendSemSegHead

__all__ = [
    "POINT_HEAD_REGISTRY",
    "CoarseMaskHead",
    "ImplicitPointHead",
    "ImplicitPointRendMaskHead",
    "PointRendMaskHead",
    "PointRendSemSegHead",
    "StandardPointHead",
    "add_pointrend_config",
    "build_point_head",
    "generate_regular_grid_point_coords",
    "get_point_coords_wrt_image",
    "get_uncertain_point_coords_on_grid",
    "get_uncertain_point_coords_with_randomness",
    "point_sample",
    "point_sample_fine_grained_features",
    "roi_mask_point_loss",
    "sample_point_labels",
]
