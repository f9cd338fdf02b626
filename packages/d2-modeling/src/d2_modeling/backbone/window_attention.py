"""What transformers on feature maps share: patches, windows and absolute positions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

NormLayer = Callable[[int], nn.Module]
"""Makes a normalisation of so many channels."""


class PatchEmbed(nn.Module):
    """Turns an image into vectors, one per patch.

    Args:
        kernel_size: height and width of a patch.
        stride: distance of patches; equal to the size if they do not overlap.
        padding: of the image.
        in_chans: channels of the image.
        embed_dim: length C of the vectors.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_chans, H, W) to (N, H / stride, W / stride, C)."""
        patches: Tensor = self.proj(x)
        return patches.permute(0, 2, 3, 1)


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut feature maps into windows, padded with zeros at the right and the bottom.

    Args:
        x: (N, H, W, C).
        window_size: side S of a window.

    Returns:
        (N * windows, S, S, C), and the padded (height, width).
    """
    batch, height, width, channels = x.shape
    size = window_size
    # ONNX divides negative numbers otherwise than Python.
    padded_height = (height + size - 1) // size * size
    padded_width = (width + size - 1) // size * size
    x = F.pad(x, (0, 0, 0, padded_width - width, 0, padded_height - height))
    x = x.view(batch, padded_height // size, size, padded_width // size, size, channels)
    windows = _in_order(x.permute(0, 1, 3, 2, 4, 5)).view(-1, size, size, channels)
    return windows, (padded_height, padded_width)


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> Tensor:
    """Undo `window_partition`.

    Args:
        windows: (N * windows, S, S, C).
        window_size: side S of a window.
        pad_hw: the padded (height, width).
        hw: the (height, width) without padding.

    Returns:
        (N, height, width, C).
    """
    rows, columns = pad_hw[0] // window_size, pad_hw[1] // window_size
    x = windows.view(-1, rows, columns, window_size, window_size, windows.shape[-1])
    x = _in_order(x.permute(0, 1, 3, 2, 4, 5)).view(-1, *pad_hw, windows.shape[-1])
    if not torch.compiler.is_exporting():
        return x[:, : hw[0], : hw[1]]
    # A part of a map notes whether it is all of it; what is picked does not.
    for dim, size in enumerate(hw, start=1):
        x = x.index_select(dim, torch.arange(size, device=x.device))
    return x


def _in_order(x: Tensor) -> Tensor:
    """A copy that lies in memory in the order of its dimensions.

    Unlike with ``reshape`` nothing is noted, where a graph is recorded, about how it lay before:
    that depends on whether there is one window or more, and on whether there is padding.
    """
    return x.clone(memory_format=torch.contiguous_format)


def absolute_positions(abs_pos: Tensor, has_cls_token: bool, hw: tuple[int, int]) -> Tensor:
    """Position embeddings of a square grid, resized to another one.

    Args:
        abs_pos: (1, S * S, C), or with a class token before them (1, 1 + S * S, C).
        has_cls_token: whether there is one; it is dropped.
        hw: wanted (height, width).

    Returns:
        (1, height, width, C).

    Raises:
        ValueError: if the number of positions is no square.
    """
    if has_cls_token:
        abs_pos = abs_pos[:, 1:]
    side = math.isqrt(abs_pos.shape[1])
    if side * side != abs_pos.shape[1]:
        raise ValueError(f"position embeddings have to form a square, got {abs_pos.shape[1]}")
    grid = abs_pos.unflatten(1, (side, side))
    # Resizing is recorded, too, where sizes are no numbers: then others follow.
    if isinstance(hw[0], int) and isinstance(hw[1], int) and (side, side) == hw:
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=hw, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def run_block(block: nn.Module, *inputs: Tensor, recompute: bool) -> Tensor:
    """Call a block; ``recompute`` does so again in backward instead of keeping its activations."""
    out: Tensor = checkpoint(block, *inputs, use_reentrant=False) if recompute else block(*inputs)
    return out
