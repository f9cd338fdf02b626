"""The registry of complete models."""

from d2_config.registry import Registry

META_ARCH_REGISTRY = Registry("META_ARCH")
"""Callables ``(cfg) -> nn.Module`` that build a whole model."""
