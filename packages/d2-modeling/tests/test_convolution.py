"""Convolutions with norm and activation, beside plain ones in double precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling.layers import CNNBlockBase, Conv2d, DepthwiseSeparableConv2d, FrozenBatchNorm2d

Convolved = Callable[[Tensor, Any], Tensor]


def frozen(channels: int) -> FrozenBatchNorm2d:
    norm = FrozenBatchNorm2d(channels)
    for name in ("weight", "bias", "running_mean"):
        getattr(norm, name).normal_()
    norm.running_var.uniform_(0.1, 4.0)
    return norm


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(deadline=None, max_examples=40)
@given(
    kernel=pairs,
    stride=pairs,
    dilation=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    kind=st.sampled_from(["none", "frozen", "trained", "groups"]),
)
def test_norm_and_activation_follow_a_convolution_of_any_geometry(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    bias: bool,
    kind: str,
    convolved: Convolved,
) -> None:
    norms = {"none": None, "frozen": frozen(6), "trained": nn.BatchNorm2d(6)}
    norm = {**norms, "groups": nn.GroupNorm(3, 6)}[kind]
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": padding}
    layer = Conv2d(4, 6, kernel, groups=groups, bias=bias, norm=norm, activation=F.elu, **options)
    layer = layer.double().eval()
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    wanted = convolved(x, layer)
    wanted = F.elu(wanted if layer.norm is None else layer.norm(wanted))
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_every_kind_of_padding_goes_with_a_folded_norm(mode: str) -> None:
    layer = Conv2d(3, 4, 3, padding=1, padding_mode=mode, norm=frozen(4)).double()
    plain = nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode).double()
    plain.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64)
    assert layer.norm is not None
    torch.testing.assert_close(layer(x), layer.norm(plain(x)))


def test_a_folded_norm_may_change_from_call_to_call() -> None:
    layer = Conv2d(2, 2, 1, bias=False, norm=frozen(2))
    x = torch.randn(1, 2, 2, 2)
    before = layer(x)
    layer.norm.weight.mul_(2)  # type: ignore[union-attr,operator]  # it has one
    layer.norm.bias.mul_(2)  # type: ignore[union-attr,operator]  # it has one
    shifted = layer.norm.scale_and_shift()[1]  # type: ignore[union-attr,operator]  # it has one
    assert shifted.shape == (2,)
    torch.testing.assert_close(layer(x), 2 * before)


def test_hooks_that_come_before_a_norm_are_called() -> None:
    layer = Conv2d(2, 3, 1, norm=frozen(3))
    x = torch.randn(1, 2, 2, 2)
    assert layer.norm is not None
    handle = layer.norm.register_forward_pre_hook(lambda module, args: (args[0] * 0,))
    zero = layer(x)
    handle.remove()
    torch.testing.assert_close(zero, layer.norm(torch.zeros(1, 3, 2, 2)))
    assert not torch.allclose(layer(x), zero)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_go_with_a_norm_of_single_precision(dtype: torch.dtype) -> None:
    layer = Conv2d(3, 4, 3, norm=frozen(4))
    x = torch.randn(1, 3, 6, 6)
    wanted = layer(x)
    out = layer.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), wanted, rtol=0.1, atol=0.1)


def test_autocast_computes_in_its_own_type() -> None:
    layer = Conv2d(3, 4, 3, norm=frozen(4))
    x = torch.randn(1, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("norm", [None, "frozen", "trained"])
def test_no_images_and_no_channels_too_many(norm: str | None) -> None:
    made = {None: None, "frozen": frozen(6), "trained": nn.BatchNorm2d(6)}[norm]
    layer = Conv2d(4, 6, 3, padding=1, stride=2, norm=made, activation=F.relu).eval()
    x = torch.zeros(0, 4, 9, 7, requires_grad=True)
    out = layer(x)
    assert out.shape == (0, 6, 5, 4)
    out.sum().backward()
    assert x.grad is not None
    with pytest.raises(RuntimeError, match="to have 4 channels, but got 3"):
        layer(torch.zeros(1, 3, 9, 7))


def test_weights_are_those_of_a_plain_convolution_and_of_its_norm() -> None:
    layer = Conv2d(2, 3, 1, norm=frozen(3))
    leaves = ("weight", "bias", "running_mean", "running_var")
    assert set(layer.state_dict()) == {"weight", "bias", *(f"norm.{leaf}" for leaf in leaves)}
    assert set(Conv2d(2, 3, 1, activation=nn.ReLU()).state_dict()) == {"weight", "bias"}


# Blocks


def test_a_block_says_its_channels_and_stride_and_freezes_itself() -> None:
    class Block(CNNBlockBase):
        def __init__(self) -> None:
            super().__init__(3, 4, 2)
            self.first = Conv2d(3, 4, 3, stride=2, padding=1, norm=nn.BatchNorm2d(4))
            self.second = nn.Sequential(nn.Conv2d(4, 4, 1), nn.SyncBatchNorm(4))

    block = Block()
    assert (block.in_channels, block.out_channels, block.stride) == (3, 4, 2)
    assert block.freeze() is block
    assert not any(p.requires_grad for p in block.parameters())
    assert isinstance(block.first.norm, FrozenBatchNorm2d)
    assert isinstance(block.second[1], FrozenBatchNorm2d)


@pytest.mark.parametrize("norms", [(None, None), ("BN", "GN"), ("", "LN"), ("FrozenBN", "")])
@pytest.mark.parametrize("activations", [(None, None), (F.relu, torch.tanh)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_separable_convolution_is_one_per_channel_and_one_over_them(
    norms: tuple[Any, Any],
    activations: tuple[Any, Any],
    dilation: int,
    convolved: Convolved,
) -> None:
    layer = DepthwiseSeparableConv2d(
        *(4, 6, 3, dilation, dilation),
        norm1=norms[0],
        norm2=norms[1],
        activation1=activations[0],
        activation2=activations[1],
    )
    layer = layer.double().eval()
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    wanted = x
    for part, activation in ((layer.depthwise, activations[0]), (layer.pointwise, activations[1])):
        assert (part.bias is None) == (part.norm is not None)
        wanted = convolved(wanted, part)
        wanted = wanted if part.norm is None else part.norm(wanted)
        wanted = wanted if activation is None else activation(wanted)
    torch.testing.assert_close(layer(x), wanted)
    count = 4 * 9 + 4 * 6
    assert sum(p.numel() for n, p in layer.named_parameters() if p.dim() == 4) == count


def test_both_parts_of_a_separable_convolution_start_with_he_weights() -> None:
    torch.manual_seed(0)
    layer = DepthwiseSeparableConv2d(512, 256)
    for part, fan_out in ((layer.depthwise, 512 * 9), (layer.pointwise, 256)):
        assert part.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert part.bias is not None
        assert not part.bias.any()
    assert (layer.depthwise.kernel_size, layer.depthwise.padding) == ((3, 3), (1, 1))
