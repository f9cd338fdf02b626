"""The registry of backbones, and how configs choose from it."""

from __future__ import annotations

from typing import Any

from d2_config import CfgNode
from d2_config.registry import Registry

from ..layers import ShapeSpec
from .backbone import Backbone

BACKBONE_REGISTRY: Registry[Any] = Registry("BACKBONE")
"""Callables ``(cfg, input_shape: ShapeSpec) -> Backbone``, by the name used in configs."""


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build the backbone that ``cfg.MODEL.BACKBONE.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shape of the images; by default as many channels as
            ``cfg.MODEL.PIXEL_MEAN`` has values.

    Raises:
        KeyError: if no backbone of that name is registered.
        TypeError: if what is registered under it makes something else than a `Backbone`.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    name = cfg.MODEL.BACKBONE.NAME
    backbone = BACKBONE_REGISTRY.get(name)(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(
            f"MODEL.BACKBONE.NAME {name!r} made a {type(backbone).__name__}; "
            "models need a subclass of Backbone"
        )
    return backbone
