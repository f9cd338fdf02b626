"""The registry of complete models, and how configs choose from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from d2_config import CfgNode
from d2_config.registry import Registry

META_ARCH_REGISTRY: Registry[Any] = Registry("META_ARCH")
"""Callables ``(cfg) -> nn.Module`` that build a whole model."""


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model that ``cfg.MODEL.META_ARCHITECTURE`` names, on ``cfg.MODEL.DEVICE``.

    Weights are initialised at random; ``cfg.MODEL.WEIGHTS`` is not read. On the device
    ``"meta"`` the model takes no memory.

    Raises:
        KeyError: if no model of that name is registered.
        ValueError: if the device is unknown, or a CUDA device without CUDA at hand.
    """
    device = _device(cfg.MODEL.DEVICE)
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if device.type == "meta":
        with device:
            meta_model: nn.Module = architecture(cfg)
            return meta_model
    model: nn.Module = architecture(cfg)
    return model.to(device)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"MODEL.DEVICE {name!r} names no device: {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"MODEL.DEVICE is {name!r}, but torch finds no CUDA device here; "
            "set MODEL.DEVICE to 'cpu'"
        )
    return device
