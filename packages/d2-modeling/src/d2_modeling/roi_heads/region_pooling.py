"""The poolers of ROI heads as configs describe them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from d2_config import CfgNode

from ..layers import ShapeSpec
from ..layers.shape_spec import common_width, select_shapes
from ..poolers import ROIPooler
from .region_branch import RegionBranch


def build_region_pooler(
    cfg: CfgNode, head_options: CfgNode, input_shape: Mapping[str, ShapeSpec]
) -> tuple[ROIPooler, ShapeSpec]:
    """Build the pooler of one head on the maps of ``cfg.MODEL.ROI_HEADS.IN_FEATURES``.

    Args:
        cfg: the whole config.
        head_options: the head's part of it, with the keys ``POOLER_…``.
        input_shape: shapes of the backbone's feature maps.

    Returns:
        The pooler, and the shape of what it gives.

    Raises:
        ValueError: if a feature map is missing or they differ in width.
    """
    key = "MODEL.ROI_HEADS.IN_FEATURES"
    names = cfg.MODEL.ROI_HEADS.IN_FEATURES
    shapes = select_shapes(input_shape, names, key)
    width = common_width(shapes, f"{key} {list(names)}")
    size = head_options.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=size,
        scales=[1.0 / (shape.stride or 1) for shape in shapes],
        sampling_ratio=head_options.POOLER_SAMPLING_RATIO,
        pooler_type=head_options.POOLER_TYPE,
    )
    return pooler, ShapeSpec(channels=width, height=size, width=size)


def branch_from_config(
    cfg: CfgNode,
    head_options: CfgNode,
    input_shape: Mapping[str, ShapeSpec],
    build_head: Callable[[CfgNode, ShapeSpec | dict[str, ShapeSpec]], nn.Module],
) -> RegionBranch:
    """Build a head on the maps of ``cfg.MODEL.ROI_HEADS.IN_FEATURES``, and its pooler.

    If ``POOLER_TYPE`` is empty there is none, and the head is built for the maps by name.

    Args:
        cfg: the whole config.
        head_options: see `build_region_pooler`.
        input_shape: shapes of the backbone's feature maps.
        build_head: makes the head out of the config and the shape of what it gets.

    Raises:
        ValueError: see `build_region_pooler`.
    """
    names = cfg.MODEL.ROI_HEADS.IN_FEATURES
    if head_options.POOLER_TYPE:
        pooler, shape = build_region_pooler(cfg, head_options, input_shape)
        return RegionBranch(names, pooler, build_head(cfg, shape))
    shapes = select_shapes(input_shape, names, "MODEL.ROI_HEADS.IN_FEATURES")
    return RegionBranch(names, None, build_head(cfg, dict(zip(names, shapes, strict=True))))
