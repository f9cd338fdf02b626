"""Attention with relative positions needs no matrix of all pairs of places."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2_modeling.backbone import relative_position_bias, relative_positions
from d2_modeling.backbone.relative_attention import relative_attention

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


# One pair of places after the other


def embedding(rel_pos: Tensor, q_size: int, k_size: int, query: int, key: int) -> Tensor:
    """What belongs to the distance of two positions, on the finer of the two grids."""
    wanted = 2 * max(q_size, k_size) - 1
    finer_q, finer_k = max(k_size / q_size, 1.0), max(q_size / k_size, 1.0)
    place = int(query * finer_q - key * finer_k + (k_size - 1) * finer_k)
    # Linear interpolation of the table to the wanted length, clamped at its ends.
    center = min(max((place + 0.5) * len(rel_pos) / wanted - 0.5, 0.0), len(rel_pos) - 1.0)
    low = int(center)
    high, share = min(low + 1, len(rel_pos) - 1), center - low
    return rel_pos[low] * (1 - share) + rel_pos[high] * share


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    pooled=st.sampled_from(["queries", "keys"]),
    length=st.integers(1, 15),
)
def test_each_pair_gets_the_embedding_of_its_distance(
    sizes: tuple[int, int], pooled: str, length: int
) -> None:
    coarse, fine = sizes[0], sizes[0] * sizes[1]
    q_size, k_size = (coarse, fine) if pooled == "queries" else (fine, coarse)
    rel_pos = torch.randn(length, 3, dtype=torch.float64)
    got = relative_positions(q_size, k_size, rel_pos)
    assert got.shape == (q_size, k_size, 3)
    for query in range(q_size):
        for key in range(k_size):
            wanted = embedding(rel_pos, q_size, k_size, query, key)
            torch.testing.assert_close(got[query, key], wanted)


def attended(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, q_size: Sides, k_size: Sides
) -> Tensor:
    """Attention whose every logit is computed by itself."""
    out = torch.zeros_like(q)
    for i in range(q.shape[-2]):
        logits = []
        for j in range(k.shape[-2]):
            row = embedding(rows, q_size[0], k_size[0], i // q_size[1], j // k_size[1])
            column = embedding(columns, q_size[1], k_size[1], i % q_size[1], j % k_size[1])
            scaled = (q[..., i, :] * k[..., j, :]).sum(-1) / q.shape[-1] ** 0.5
            logits.append(scaled + (q[..., i, :] * (row + column)).sum(-1))
        weights = torch.stack(logits, -1).softmax(-1)
        out[..., i, :] = (weights[..., None] * v).sum(-2)
    return out


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(
    ("q_size", "k_size"),
    [((3, 4), (3, 4)), ((1, 1), (1, 1)), ((4, 2), (2, 1)), ((2, 3), (4, 6)), ((1, 5), (1, 3))],
)
def test_attention_is_its_definition_for_every_pair(
    q_size: Sides, k_size: Sides, requires_grad: bool
) -> None:
    values = parts(q_size, k_size, requires_grad=requires_grad)
    with torch.no_grad():
        wanted = attended(*values, q_size, k_size)
    got = relative_attention(*values, q_size, k_size)
    assert got.requires_grad == requires_grad
    torch.testing.assert_close(got.detach(), wanted)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_tables_of_another_length_are_interpolated_in_attention(requires_grad: bool) -> None:
    q, k, v, _, _ = parts((3, 4), (3, 4), requires_grad=requires_grad)
    rows, columns = torch.randn(9, 6).double(), torch.randn(3, 6).double()
    wanted = attended(q, k, v, rows, columns, (3, 4), (3, 4)).detach()
    got = relative_attention(q, k, v, rows, columns, (3, 4), (3, 4)).detach()
    torch.testing.assert_close(got, wanted)


def test_the_bias_of_a_pair_is_the_query_times_both_embeddings() -> None:
    q, _, _, rows, columns = parts((2, 3), (4, 3))
    bias = relative_position_bias(q[:, 0], rows, columns, (2, 3), (4, 3))
    assert bias.shape == (2, 6, 12)
    for i in range(6):
        for j in range(12):
            place = embedding(rows, 2, 4, i // 3, j // 3) + embedding(columns, 3, 3, i % 3, j % 3)
            torch.testing.assert_close(bias[:, i, j], q[:, 0, i] @ place)


@pytest.mark.parametrize("channels", [1, 2, 8, 13])
def test_any_number_of_channels_is_padded_to_what_kernels_want(channels: int) -> None:
    values = parts((3, 2), (3, 2), channels=channels, requires_grad=True)
    expected = with_matrix(*values, (3, 2), (3, 2))
    got = relative_attention(*values, (3, 2), (3, 2))
    assert got.shape[-1] == channels
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_out_as_it_went_in(dtype: torch.dtype) -> None:
    values = parts((4, 4), (4, 4))
    wanted = relative_attention(*values, (4, 4), (4, 4))
    got = relative_attention(*(value.to(dtype) for value in values), (4, 4), (4, 4))
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), wanted, rtol=0.1, atol=0.1)


def test_large_logits_do_not_overflow_in_half_precision() -> None:
    """Logits of 30 000, whose exponential no type holds."""
    q, k, v, rows, columns = (value.half() for value in parts((2, 2), (2, 2)))
    out = relative_attention(q * 100, k * 100, v, rows, columns, (2, 2), (2, 2))
    assert out.isfinite().all()
    assert out.abs().max() <= v.abs().max() * 1.01


def test_queries_that_lie_otherwise_in_memory_give_the_same() -> None:
    values = parts((4, 3), (4, 3))
    wanted = relative_attention(*values, (4, 3), (4, 3))
    turned = [value.mT.contiguous().mT for value in values]
    assert not turned[0].is_contiguous()
    torch.testing.assert_close(relative_attention(*turned, (4, 3), (4, 3)), wanted)
