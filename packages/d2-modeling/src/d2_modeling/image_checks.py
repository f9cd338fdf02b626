"""What every model, exported or not, says of an image that it cannot take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["image_of", "picture_of"]


def image_of(entry: Mapping[str, Any], index: int, channels: int) -> Tensor:
    """The ``image`` of an input.

    Args:
        entry: the input.
        index: its place in the batch.
        channels: of the images that the model takes.

    Raises:
        ValueError: if the input is no dict, or its image is missing or no (C, H, W) tensor of real
            numbers with these channels and some pixels.
    """
    if not hasattr(entry, "get"):
        raise ValueError(
            f"input {index} wants a dict with an image, got {type(entry).__name__}: a model takes "
            "a list of dicts"
        )
    image = entry.get("image")
    if not isinstance(image, Tensor) or image.dim() != 3 or len(image) != channels:
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"input {index} wants a tensor image of shape ({channels}, H, W), got {got}"
        )
    if not torch.jit.is_tracing() and image.numel() == 0:
        raise ValueError(
            f"input {index} has an image without pixels, of shape {tuple(image.shape)}"
        )
    if image.dtype == torch.bool or image.dtype.is_complex:
        raise ValueError(f"input {index} wants an image of real numbers, got {image.dtype}")
    return image


def picture_of(entry: Mapping[str, Any], index: int, channels: int) -> Tensor:
    """The ``image`` of an input for a graph that resizes and normalises pictures itself.

    Raises:
        ValueError: as `image_of`, or if it is not of uint8.
    """
    image = image_of(entry, index, channels)
    if image.dtype != torch.uint8:
        raise ValueError(
            f"input {index} wants an image of uint8, as it was read: what was exported with "
            f"preprocessing resizes it itself; got {image.dtype}"
        )
    return image
