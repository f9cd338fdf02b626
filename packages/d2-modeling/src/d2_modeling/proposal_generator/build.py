"""The registries of proposal generators and of their heads."""

from typing import Any

from d2_config.registry import Registry

PROPOSAL_GENERATOR_REGISTRY: Registry[Any] = Registry("PROPOSAL_GENERATOR")
"""Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module`` that find proposals."""

RPN_HEAD_REGISTRY: Registry[Any] = Registry("RPN_HEAD")
"""Callables ``(cfg, input_shape: list[ShapeSpec]) -> nn.Module`` that score anchors."""
