"""The registry of complete models."""

from typing import Any

from d2_config.registry import Registry

META_ARCH_REGISTRY: Registry[Any] = Registry("META_ARCH")
"""Callables ``(cfg) -> nn.Module`` that build a whole model."""
