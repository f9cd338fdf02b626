"""The registry of backbones."""

from typing import Any

from d2_config.registry import Registry

BACKBONE_REGISTRY: Registry[Any] = Registry("BACKBONE")
"""Callables ``(cfg, input_shape: ShapeSpec) -> Backbone``, by the name used in configs."""
