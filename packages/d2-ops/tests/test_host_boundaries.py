import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2_ops import host

Mask = NDArray[np.bool_]


def boundary_by_definition(mask: Mask, ratio: float) -> Mask:
    """What erosion by 3 x 3 pixels, repeated, takes away; beyond the image nothing is set."""
    height, width = mask.shape
    times = max(round(ratio * np.sqrt(height**2 + width**2)), 1)
    left = np.pad(mask, 1)
    for _ in range(min(times, max(height, width))):
        surrounded = np.zeros_like(left)
        windows = np.lib.stride_tricks.sliding_window_view(left, (3, 3))
        surrounded[1:-1, 1:-1] = windows.all((2, 3))
        left = surrounded
    return mask & ~left[1:-1, 1:-1]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random((height, width)) < draw(st.sampled_from([0.0, 0.9, 0.98, 1.0]))
    if draw(st.booleans()):
        mask[: rng.integers(0, height), rng.integers(0, width) :] = False
    return mask


@settings(max_examples=200, deadline=None)
@given(mask=masks(), ratio=st.sampled_from([0.0, 0.02, 0.05, 0.1, 3.0]))
def test_a_boundary_is_what_erosion_takes_away(mask: Mask, ratio: float) -> None:
    expected = boundary_by_definition(mask, ratio)
    assert np.array_equal(host.mask_boundary(mask, ratio), expected)
    rle = host.rle_encode(mask)
    assert host.rle_boundary(rle, ratio) == host.rle_encode(expected)


def test_boundaries_of_large_masks_of_any_kind() -> None:
    mask = np.zeros((211, 307), bool)
    mask[20:190, 0:250] = True
    mask[100:120, 60:200] = False
    expected = boundary_by_definition(mask, 0.02)
    assert np.array_equal(host.mask_boundary(mask), expected)
    assert np.array_equal(host.mask_boundary(np.asfortranarray(mask) * 3.0), expected)
    stack = np.stack([mask, ~mask, mask])
    together = host.mask_boundary(stack, num_threads=2)
    assert np.array_equal(together, [expected, boundary_by_definition(~mask, 0.02), expected])


def test_boundary_overlaps_are_those_of_the_boundaries() -> None:
    rng = np.random.default_rng(0)
    stack = np.zeros((9, 80, 90), bool)
    for mask in stack:
        y, x = rng.integers(0, 50, 2)
        mask[y : y + 30, x : x + 35] = True
    rles = host.rle_encode(stack)
    crowd = [0, 1, 0, 1]
    boundaries = host.rle_boundary(rles, num_threads=2)
    expected = host.rle_iou(boundaries, boundaries[:4], crowd)
    assert np.array_equal(host.boundary_iou(rles, rles[:4], crowd), expected)
    assert 0 < (expected > 0).sum() < expected.size


def test_nothing_has_no_boundary() -> None:
    assert host.rle_boundary([]) == []
    assert host.mask_boundary(np.zeros((0, 4, 5), bool)).shape == (0, 4, 5)
    assert host.mask_boundary(np.zeros((0, 5), bool)).shape == (0, 5)


@pytest.mark.parametrize("ratio", [-0.1, np.nan, np.inf])
def test_a_bad_ratio_is_named(ratio: float) -> None:
    rle = host.rle_encode(np.ones((4, 4), bool))
    for call in (
        lambda: host.mask_boundary(np.ones((4, 4), bool), ratio),
        lambda: host.rle_boundary(rle, ratio),
        lambda: host.boundary_iou([rle], [rle], dilation_ratio=ratio),
    ):
        with pytest.raises(ValueError, match="dilation_ratio must be finite and not negative"):
            call()


def test_a_bad_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"mask must have 2 or 3 dimensions, got shape \(4,\)"):
        host.mask_boundary(np.ones(4, bool))
