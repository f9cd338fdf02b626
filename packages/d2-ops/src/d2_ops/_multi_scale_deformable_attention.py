"""Multi-scale deformable attention: a few weighted samples of several maps for each query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Tensor | Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Sum up weighted samples of feature maps, of each head by itself.

    Samples are bilinear; outside of a map there are zeros. A location is a share of the map, (0, 0)
    its upper left corner and (1, 1) its lower right one.

    Args:
        value: (N, S, M, D) floating: the maps of all levels, row by row, one after the other, for
            M heads of D channels.
        spatial_shapes: (height, width) of each of the L levels; sum of height * width is S. On
            CUDA a tensor has to be waited for, a list has not.
        sampling_locations: (N, Q, M, L, P, 2) x and y of P samples for each of Q queries.
        attention_weights: (N, Q, M, L, P) weights of the samples.

    Returns:
        (N, Q, M * D) in the dtype of ``value``. Differentiable in all tensors; Q == 0 gives an
        empty one.

    Raises:
        TypeError: if a tensor is not floating.
        ValueError: if shapes do not fit.

    Source: Zhu et al., "Deformable DETR", 2021, equation 3.
    """
    sizes = _sizes(spatial_shapes)
    _check(value, sizes, sampling_locations, attention_weights)
    batch, _, heads, channels = value.shape
    queries, _, levels, points = attention_weights.shape[1:]
    # grid_sample counts from -1 to 1, corner to corner. Heads take part as if they were images.
    grids = (2 * sampling_locations.to(value.dtype) - 1).transpose(1, 2).flatten(0, 1)
    parts = value.split([height * width for height, width in sizes], dim=1)
    samples = []
    for level, (part, (height, width)) in enumerate(zip(parts, sizes, strict=True)):
        maps = part.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        samples.append(
            F.grid_sample(
                maps, grids[:, :, level], mode="bilinear", padding_mode="zeros", align_corners=False
            )
        )
    sampled = torch.stack(samples, dim=3).flatten(3)  # (N * M, D, Q, L * P)
    weights = attention_weights.to(value.dtype).transpose(1, 2)
    weights = weights.reshape(batch * heads, 1, queries, levels * points)
    summed = (sampled * weights).sum(dim=3)
    return summed.view(batch, heads * channels, queries).transpose(1, 2)


def _sizes(spatial_shapes: Tensor | Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    rows = spatial_shapes.tolist() if isinstance(spatial_shapes, Tensor) else list(spatial_shapes)
    sizes = [(int(height), int(width)) for height, width in rows]
    if not sizes or any(height < 1 or width < 1 for height, width in sizes):
        raise ValueError(f"spatial_shapes wants a positive (height, width) of each level: {sizes}")
    return sizes


def _check(
    value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> None:
    named = {"value": value, "sampling_locations": locations, "attention_weights": weights}
    for name, tensor in named.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{name} has to be floating, got {tensor.dtype}")
    area = sum(height * width for height, width in sizes)
    if value.dim() != 4 or value.shape[1] != area:
        raise ValueError(
            f"value wants shape (N, {area}, M, D) for spatial_shapes {list(sizes)}, "
            f"got {tuple(value.shape)}"
        )
    batch, _, heads, _ = value.shape
    if weights.dim() != 5 or weights.shape[::2][:2] != (batch, heads):
        raise ValueError(
            f"attention_weights wants shape ({batch}, Q, {heads}, L, P), got {tuple(weights.shape)}"
        )
    if weights.shape[3] != len(sizes):
        raise ValueError(
            f"attention_weights has {weights.shape[3]} levels, spatial_shapes {len(sizes)}"
        )
    if locations.shape != (*weights.shape, 2):
        raise ValueError(
            f"sampling_locations wants shape {(*weights.shape, 2)}, got {tuple(locations.shape)}"
        )
