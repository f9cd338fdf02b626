"""Attention with relative positions needs no matrix of all pairs of places."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2_modeling.backbone.relative_attention import relative_attention, relative_position_bias

Sides = tuple[int, int]
sides = st.tuples(st.integers(1, 6), st.integers(1, 6))


def parts(q_size: Sides, k_size: Sides, channels: int = 6, **kwargs: Any) -> list[Tensor]:
    """Queries, keys, values, and embeddings of vertical and horizontal distances."""
    torch.manual_seed(0)
    lengths = [2 * max(one, other) - 1 for one, other in zip(q_size, k_size, strict=True)]
    shapes = [
        (2, 3, q_size[0] * q_size[1], channels),
        *[(2, 3, k_size[0] * k_size[1], channels)] * 2,
        *[(length, channels) for length in lengths],
    ]
    return [torch.randn(shape, dtype=torch.float64, **kwargs) for shape in shapes]


def with_matrix(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, q_size: Sides, k_size: Sides
) -> Tensor:
    bias = relative_position_bias(q.flatten(0, 1), rows, columns, q_size, k_size)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.unflatten(0, (2, 3)))


@settings(deadline=None, max_examples=25)
@given(q_size=sides, k_size=sides)
def test_it_agrees_with_the_matrix(q_size: Sides, k_size: Sides) -> None:
    values = parts(q_size, k_size)
    expected = with_matrix(*values, q_size, k_size)
    torch.testing.assert_close(relative_attention(*values, q_size, k_size), expected)


@pytest.mark.parametrize("tile", [1, 7, 60, 10_000])
def test_tiles_of_any_size_give_the_same(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2_modeling.backbone.relative_attention._TILE", tile)
    values = parts((4, 5), (2, 5))
    expected = with_matrix(*values, (4, 5), (2, 5))
    torch.testing.assert_close(relative_attention(*values, (4, 5), (2, 5)), expected)


def test_both_ways_agree() -> None:
    values = parts((4, 5), (2, 5), requires_grad=True)
    remembered = relative_attention(*values, (4, 5), (2, 5))
    with torch.no_grad():
        torch.testing.assert_close(relative_attention(*values, (4, 5), (2, 5)), remembered.detach())


def test_gradients_agree_with_those_of_the_matrix() -> None:
    found = []
    for attention in (relative_attention, with_matrix):
        values = parts((4, 3), (2, 3), requires_grad=True)
        attention(*values, (4, 3), (2, 3)).square().sum().backward()
        found.append([value.grad for value in values])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


class _Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that an operator returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return out


@pytest.mark.parametrize("training", [False, True])
def test_no_tensor_holds_all_pairs_of_places(training: bool) -> None:
    size = (36, 30)
    values = [value.float().requires_grad_(training) for value in parts(size, size, channels=8)]
    with _Largest() as largest, torch.set_grad_enabled(training):
        out = relative_attention(*values, size, size)
        if training:
            out.sum().backward()
    pairs = 2 * 3 * (36 * 30) ** 2
    assert largest.elements < pairs / 4
    with _Largest() as largest:
        with_matrix(*values, size, size)
    assert largest.elements >= pairs
