"""Multi-scale deformable attention against its formula, sample by sample."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_ops import multi_scale_deformable_attention


def by_formula(value: Any, sizes: Any, locations: Any, weights: Any) -> torch.Tensor:
    """The sum of each query, head and channel, in float64."""
    value, locations, weights = (t.double() for t in (value, locations, weights))
    batch, _, heads, channels = value.shape
    queries, points = weights.shape[1], weights.shape[4]
    out = torch.zeros(batch, queries, heads, channels, dtype=torch.float64)
    start = 0
    for level, (height, width) in enumerate(sizes):
        maps = value[:, start : start + height * width].view(batch, height, width, heads, channels)
        start += height * width
        for n, q, m, p in torch.cartesian_prod(*map(torch.arange, (batch, queries, heads, points))):
            x, y = locations[n, q, m, level, p].tolist()
            x, y = x * width - 0.5, y * height - 0.5
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        share = (1 - abs(y - row)) * (1 - abs(x - column))
                        sample = maps[n, row, column, m] * share
                        out[n, q, m] += sample * weights[n, q, m, level, p]
    return out.flatten(2)


def arguments(
    sizes: Any, queries: int = 3, heads: int = 2, channels: int = 4, points: int = 2, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    area = sum(height * width for height, width in sizes)
    value = torch.randn(2, area, heads, channels, generator=generator, dtype=torch.float64)
    shape = (2, queries, heads, len(sizes), points)
    # Also outside of the maps.
    locations = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(shape, generator=generator, dtype=torch.float64)
    return value, locations, weights


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=3),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(0, 100),
)
def test_it_is_the_weighted_sum_of_bilinear_samples(sizes, queries, points, seed):
    value, locations, weights = arguments(sizes, queries, points=points, seed=seed)
    found = multi_scale_deformable_attention(value, sizes, locations, weights)
    torch.testing.assert_close(found, by_formula(value, sizes, locations, weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_precisions_are_near(dtype):
    sizes = [(4, 5), (2, 3)]
    value, locations, weights = arguments(sizes)
    value, weights = value.to(dtype), weights.to(dtype)
    found = multi_scale_deformable_attention(value, torch.tensor(sizes), locations.float(), weights)
    assert found.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 0.15}[dtype]
    wanted = by_formula(value, sizes, locations, weights)
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


def test_gradients_are_those_of_small_changes():
    sizes = [(3, 4), (2, 2)]
    tensors = [t.requires_grad_() for t in arguments(sizes, queries=2, heads=1, channels=2)]

    def attention(value, locations, weights):
        return multi_scale_deformable_attention(value, sizes, locations, weights)

    assert torch.autograd.gradcheck(attention, tensors)


def test_what_does_not_fit_is_named():
    sizes = [(3, 4), (2, 2)]
    value, locations, weights = arguments(sizes)
    attention = multi_scale_deformable_attention
    with pytest.raises(ValueError, match=r"value wants shape \(N, 13, M, D\)"):
        attention(value, [(3, 3), (2, 2)], locations, weights)
    with pytest.raises(ValueError, match="attention_weights has 2 levels, spatial_shapes 1"):
        attention(value, [(4, 4)], locations, weights)
    with pytest.raises(ValueError, match=r"attention_weights wants shape \(2, Q, 2, L, P\)"):
        attention(value, sizes, locations, weights[:1])
    with pytest.raises(ValueError, match="sampling_locations wants shape"):
        attention(value, sizes, locations[..., :1], weights)
    with pytest.raises(ValueError, match="positive"):
        attention(value, [(0, 4)], locations, weights)
    with pytest.raises(TypeError, match="value has to be floating"):
        attention(value.long(), sizes, locations, weights)
