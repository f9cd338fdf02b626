"""Registries, yacs-style and lazy configs, logging: the torch-free wiring of d2."""

from .instantiation import instantiate
from .lazy_call import LazyCall
from .lazy_config import LazyConfig
from .registry import Registry

__all__ = ["LazyCall", "LazyConfig", "Registry", "instantiate"]
