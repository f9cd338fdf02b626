"""The registry of backbones."""

from d2_config.registry import Registry

BACKBONE_REGISTRY = Registry("BACKBONE")
"""Callables ``(cfg, input_shape: ShapeSpec) -> Backbone``, by the name used in configs."""
