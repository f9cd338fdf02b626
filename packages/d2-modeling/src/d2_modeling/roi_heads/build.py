"""The registries of everything that works on regions, and how configs choose from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from d2_config import CfgNode
from d2_config.registry import Registry

from ..layers import ShapeSpec

ROI_HEADS_REGISTRY: Registry[Any] = Registry("ROI_HEADS")
"""Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> ROIHeads``."""

ROI_BOX_HEAD_REGISTRY: Registry[Any] = Registry("ROI_BOX_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` on pooled features of boxes."""

ROI_MASK_HEAD_REGISTRY: Registry[Any] = Registry("ROI_MASK_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` that predict masks."""

ROI_KEYPOINT_HEAD_REGISTRY: Registry[Any] = Registry("ROI_KEYPOINT_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` that predict keypoints."""


def build_roi_heads(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> nn.Module:
    """Build the ROI heads that ``cfg.MODEL.ROI_HEADS.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shapes of the backbone's feature maps.

    Raises:
        KeyError: if nothing of that name is registered.
    """
    heads: nn.Module = ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)
    return heads


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> Any:
    """Build the box head that ``cfg.MODEL.ROI_BOX_HEAD.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shape of the pooled features.

    Raises:
        KeyError: if nothing of that name is registered.
    """
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec | Mapping[str, ShapeSpec]) -> nn.Module:
    """Build the mask head that ``cfg.MODEL.ROI_MASK_HEAD.NAME`` names, see `build_box_head`."""
    head: nn.Module = ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)
    return head


def build_keypoint_head(
    cfg: CfgNode, input_shape: ShapeSpec | Mapping[str, ShapeSpec]
) -> nn.Module:
    """Build the keypoint head that ``cfg.MODEL.ROI_KEYPOINT_HEAD.NAME`` names.

    See `build_box_head`.
    """
    name = cfg.MODEL.ROI_KEYPOINT_HEAD.NAME
    head: nn.Module = ROI_KEYPOINT_HEAD_REGISTRY.get(name)(cfg, input_shape)
    return head
