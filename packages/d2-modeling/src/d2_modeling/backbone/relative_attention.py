"""Attention on maps whose logits depend on how far two places are apart."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batched_selection import at_least

_ALIGNED = 8
"""Kernels of attention want a multiple of so many channels."""

_TILE = 1 << 20
"""Pairs of places that are treated together on a CPU: 4 MiB in float32."""


def relative_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Attention with relative positions, without the matrix of all pairs of places.

    What a query adds to the logits of a row, and to those of a column, become further channels of
    it, and those of a key say which row and column it is in. So one longer dot product holds both,
    and memory grows with the number of places instead of its square. Where nothing is to be
    remembered for gradients, a CPU is faster with tiles of the matrix that stay in its cache.

    Args:
        q: (B, heads, q_h * q_w, C) queries.
        k: (B, heads, k_h * k_w, C) keys.
        v: (B, heads, k_h * k_w, C) values.
        rel_pos_h: (L_h, C), see `relative_positions`.
        rel_pos_w: (L_w, C).
        q_size: (q_h, q_w).
        k_size: (k_h, k_w).

    Returns:
        (B, heads, q_h * q_w, C): that of attention with `relative_position_bias`.
    """
    channels = q.shape[-1]
    from_rows, from_columns = _relative_logits(q, rel_pos_h, rel_pos_w, q_size, k_size)
    if _in_tiles(q, k, v, from_rows, from_columns):
        return _tiled_attention(q, k, v, from_rows, from_columns)
    parts = [q * channels**-0.5, from_rows, from_columns]
    place = _rows_and_columns(k_size, k)
    missing: Any = -(channels + k_size[0] + k_size[1]) % _ALIGNED
    if not isinstance(missing, torch.SymInt):  # an export would note whether any is
        parts.append(q.new_zeros(()).expand(*q.shape[:-1], missing))
        place = F.pad(place, (0, missing))
    queries = torch.cat(parts, dim=-1)
    keys = torch.cat([k, place.expand(*k.shape[:-1], -1)], dim=-1)
    if v.device.type == "cpu":  # whose kernel wants values as long as keys
        v = F.pad(v, (0, keys.shape[-1] - channels))
    return F.scaled_dot_product_attention(queries, keys, v, scale=1.0)[..., :channels]


def _in_tiles(*parts: Tensor) -> bool:
    """Whether to go tile by tile: on a CPU, without gradients, and where no graph is recorded."""
    return (
        parts[0].device.type == "cpu"
        and not (torch.is_grad_enabled() and any(part.requires_grad for part in parts))
        and not (torch.jit.is_tracing() or torch.compiler.is_compiling())
    )


def _tiled_attention(
    q: Tensor, k: Tensor, v: Tensor, from_rows: Tensor, from_columns: Tensor
) -> Tensor:
    """Attention of some queries at a time, whose tile of the bias is made and forgotten."""
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    parts = [part.flatten(0, -3) for part in (q, from_rows, from_columns)]
    flat_q, flat_rows, flat_columns = parts
    flat_k, flat_v, flat_out = (part.flatten(0, -3) for part in (k, v, out))
    queries, keys = q.shape[-2], k.shape[-2]
    rows = max(1, min(queries, _TILE // max(keys, 1)))
    heads = max(1, _TILE // max(rows * keys, 1)) if rows == queries else 1
    for head in range(0, len(flat_q), heads):
        some = slice(head, head + heads)
        for row in range(0, queries, rows):
            tile = (some, slice(row, row + rows))
            bias = flat_rows[tile][..., :, None] + flat_columns[tile][..., None, :]
            flat_out[tile] = F.scaled_dot_product_attention(
                *(flat_q[tile][:, None], flat_k[some, None], flat_v[some, None]),
                attn_mask=bias.flatten(-2)[:, None],
            )[:, 0]
    return out


def relative_positions(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """Look up what belongs to the distance of each query and key along one axis.

    Args:
        q_size: number Q of query positions.
        k_size: number K of key positions; they span the same length.
        rel_pos: (L, C) learned embeddings from the most negative distance to the most
            positive one; interpolated if L is another than the number of distances.

    Returns:
        (Q, K, C).
    """
    distances = 2 * at_least(q_size, k_size) - 1
    # What another size needs is recorded, too, where sizes are no numbers.
    if not isinstance(distances, int) or rel_pos.shape[0] != distances:
        rel_pos = F.interpolate(rel_pos.T[None], size=distances, mode="linear")[0].T
    if q_size == k_size:
        positions = torch.arange(q_size, device=rel_pos.device)
        return rel_pos[positions[:, None] - positions[None, :] + (k_size - 1)]
    # In units of the finer of the two grids.
    q_positions = torch.arange(q_size, device=rel_pos.device) * max(k_size / q_size, 1.0)
    k_positions = torch.arange(k_size, device=rel_pos.device) * max(q_size / k_size, 1.0)
    offset = (k_size - 1) * max(q_size / k_size, 1.0)
    return rel_pos[(q_positions[:, None] - k_positions[None, :] + offset).long()]


def relative_position_bias(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """What relative positions add to the attention, row and column apart.

    Args:
        q: (B, q_h * q_w, C) queries.
        rel_pos_h: (L_h, C), see `relative_positions`.
        rel_pos_w: (L_w, C).
        q_size: (q_h, q_w).
        k_size: (k_h, k_w).

    Returns:
        (B, q_h * q_w, k_h * k_w).

    Source: Li et al., "MViTv2", 2022, equation 4.
    """
    from_rows, from_columns = _relative_logits(q, rel_pos_h, rel_pos_w, q_size, k_size)
    return (from_rows[..., :, None] + from_columns[..., None, :]).flatten(2)


def _relative_logits(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """What queries add to the logits of each row (..., q_h * q_w, k_h), and of each column."""
    by_place = q.unflatten(-2, q_size)
    rows = relative_positions(q_size[0], k_size[0], rel_pos_h)
    columns = relative_positions(q_size[1], k_size[1], rel_pos_w)
    from_rows = torch.einsum("...hwc,hkc->...hwk", by_place, rows)
    from_columns = torch.einsum("...hwc,wkc->...hwk", by_place, columns)
    return from_rows.flatten(-3, -2), from_columns.flatten(-3, -2)


def _rows_and_columns(size: tuple[int, int], like: Tensor) -> Tensor:
    """(h * w, h + w): one where a place's row and its column are."""
    height, width = size
    rows = torch.eye(height, dtype=like.dtype, device=like.device)[:, None]
    columns = torch.eye(width, dtype=like.dtype, device=like.device)[None]
    of_places = [rows.expand(-1, width, -1), columns.expand(height, -1, -1)]
    return torch.cat(of_places, dim=2).flatten(0, 1)
