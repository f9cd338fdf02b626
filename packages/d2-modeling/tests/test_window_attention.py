"""Windows, patches and absolute positions, pixel by pixel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.backbone import (
    PatchEmbed,
    absolute_positions,
    window_partition,
    window_unpartition,
)

batches = st.integers(1, 3)
sides = st.integers(1, 9)


def numbered(*shape: int) -> Tensor:
    """A tensor whose elements differ, and none is zero."""
    return torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64).view(shape)


@settings(deadline=None, max_examples=40)
@given(batches, sides, sides, st.integers(1, 5))
def test_each_pixel_is_in_its_window_and_padding_is_zero(
    batch: int, height: int, width: int, size: int
) -> None:
    x = numbered(batch, height, width, 2)
    windows, (padded_height, padded_width) = window_partition(x, size)
    rows, columns = -(-height // size), -(-width // size)
    assert (padded_height, padded_width) == (rows * size, columns * size)
    assert windows.shape == (batch * rows * columns, size, size, 2)
    for n in range(batch):
        for i in range(padded_height):
            for j in range(padded_width):
                window = (n * rows + i // size) * columns + j // size
                got = windows[window, i % size, j % size]
                inside = i < height and j < width
                wanted = x[n, i, j] if inside else torch.zeros(2)
                assert got.tolist() == wanted.tolist()


@settings(deadline=None, max_examples=40)
@given(batches, sides, sides, st.integers(1, 12))
def test_windows_put_together_again_are_the_map(
    batch: int, height: int, width: int, size: int
) -> None:
    x = numbered(batch, height, width, 3)
    windows, padded = window_partition(x, size)
    assert torch.equal(window_unpartition(windows, size, padded, (height, width)), x)


def test_windows_of_a_permuted_map_are_those_of_its_copy() -> None:
    x = numbered(2, 3, 5, 7).permute(0, 2, 3, 1)
    assert not x.is_contiguous()
    windows, padded = window_partition(x, 2)
    assert torch.equal(windows, window_partition(x.contiguous(), 2)[0])
    assert torch.equal(window_unpartition(windows, 2, padded, (5, 7)), x)


def test_gradients_of_windows_return_to_their_pixels_and_none_to_padding() -> None:
    x = numbered(1, 3, 4, 1).requires_grad_()
    windows, _ = window_partition(x, 2)
    (windows.square().sum() / 2).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, x.detach())


def test_windows_keep_half_precision() -> None:
    x = torch.randn(1, 3, 3, 4).half()
    windows, padded = window_partition(x, 2)
    assert windows.dtype == torch.float16
    assert torch.equal(window_unpartition(windows, 2, padded, (3, 3)), x)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((4, 4), (4, 4), (0, 0)), ((3, 5), (2, 4), (1, 2))]
)
def test_a_patch_is_a_weighted_sum_of_its_pixels(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    embed = PatchEmbed(kernel, stride, padding, in_chans=2, embed_dim=3).double()
    x = torch.randn(2, 2, 9, 13, dtype=torch.float64)
    out = embed(x)
    padded = torch.zeros(2, 2, 9 + 2 * padding[0], 13 + 2 * padding[1], dtype=torch.float64)
    padded[:, :, padding[0] : padding[0] + 9, padding[1] : padding[1] + 13] = x
    rows, columns = (
        (padded.shape[axis + 2] - kernel[axis]) // stride[axis] + 1 for axis in range(2)
    )
    assert out.shape == (2, rows, columns, 3)
    weight, bias = embed.proj.weight, embed.proj.bias
    assert bias is not None
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride[0], j * stride[1]
            patch = padded[:, :, top : top + kernel[0], left : left + kernel[1]]
            wanted = (patch[:, None] * weight).sum(dim=(2, 3, 4)) + bias
            torch.testing.assert_close(out[:, i, j], wanted)


def test_patches_do_not_overlap_by_default_and_leave_the_rest_out() -> None:
    embed = PatchEmbed(embed_dim=4)
    assert embed(torch.randn(1, 3, 47, 33)).shape == (1, 2, 2, 4)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        embed(torch.randn(1, 3, 15, 33))


# Absolute positions


def cubic(distance: float) -> float:
    """The kernel of bicubic interpolation with the usual coefficient of -0.75."""
    a, t = -0.75, abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def resampling(source: int, target: int) -> Tensor:
    """(target, source) weights along one axis; what is beyond an end is as the end."""
    weights = torch.zeros(target, source, dtype=torch.float64)
    for place in range(target):
        center = (place + 0.5) * source / target - 0.5
        first = int(torch.tensor(center).floor())
        for neighbour in range(first - 1, first + 3):
            inside = min(max(neighbour, 0), source - 1)
            weights[place, inside] += cubic(center - neighbour)
    return weights


@pytest.mark.parametrize("has_cls_token", [False, True])
@pytest.mark.parametrize("size", [(4, 5), (2, 2), (7, 3), (1, 1)])
def test_positions_of_another_size_are_interpolated(
    size: tuple[int, int], has_cls_token: bool
) -> None:
    positions = torch.randn(1, 9 + has_cls_token, 2, dtype=torch.float64)
    grid = positions[:, int(has_cls_token) :].view(3, 3, 2)
    wanted = torch.einsum("ih,jw,hwc->ijc", resampling(3, size[0]), resampling(3, size[1]), grid)
    got = absolute_positions(positions, has_cls_token, size)
    assert got.shape == (1, *size, 2)
    torch.testing.assert_close(got[0], wanted)


def test_positions_of_the_same_size_are_not_touched() -> None:
    positions = torch.randn(1, 17, 2)
    same = absolute_positions(positions, True, (4, 4))
    assert torch.equal(same.flatten(1, 2), positions[:, 1:])
    assert absolute_positions(positions[:, :1], False, (1, 1)).shape == (1, 1, 1, 2)


@pytest.mark.parametrize(("count", "has_cls_token"), [(8, False), (9, True), (10, False)])
def test_positions_that_form_no_square_are_counted(count: int, has_cls_token: bool) -> None:
    message = f"have to form a square, got {count - has_cls_token}"
    with pytest.raises(ValueError, match=message):
        absolute_positions(torch.zeros(1, count, 2), has_cls_token, (3, 3))
