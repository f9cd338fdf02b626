"""Convolutions, normalisation and small tensor functions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2_modeling import layers
from d2_modeling.layers import (
    ASPP,
    CNNBlockBase,
    Conv2d,
    DepthwiseSeparableConv2d,
    FrozenBatchNorm2d,
    NaiveSyncBatchNorm,
    ShapeSpec,
    cat,
    cross_entropy,
    get_norm,
    nonzero_tuple,
)


def random_statistics(norm: FrozenBatchNorm2d | nn.BatchNorm2d) -> None:
    channels = norm.num_features
    with torch.no_grad():
        norm.weight.copy_(torch.rand(channels) + 0.5)
        norm.bias.copy_(torch.randn(channels))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(torch.randn(channels))
        norm.running_var.copy_(torch.rand(channels) + 0.1)


def test_frozen_batch_norm_equals_the_reference(golden_layers: Any) -> None:
    golden = golden_layers["frozen_bn"]
    norm = FrozenBatchNorm2d(8, eps=golden["eps"])
    norm.load_state_dict(golden["sd"])
    torch.testing.assert_close(norm(golden["x"]), golden["out"])


def test_a_new_frozen_batch_norm_is_the_identity() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(FrozenBatchNorm2d(3)(x), x)


def test_a_frozen_batch_norm_has_no_parameters_and_lets_gradients_through() -> None:
    norm = FrozenBatchNorm2d(2)
    random_statistics(norm)
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    norm(x).sum().backward()
    scale, _ = norm.scale_and_shift()
    assert list(norm.parameters()) == []
    assert x.grad is not None
    torch.testing.assert_close(x.grad, scale[None, :, None, None].expand_as(x))


def test_checkpoints_without_statistics_load_as_identity_statistics() -> None:
    norm = FrozenBatchNorm2d(2)
    norm.load_state_dict({"weight": torch.tensor([2.0, 3.0]), "bias": torch.tensor([0.5, 0.0])})
    x = torch.randn(1, 2, 3, 3)
    expected = x * torch.tensor([2.0, 3.0])[:, None, None] + torch.tensor([0.5, 0.0])[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_trained_batch_norm_checkpoints_load_with_their_counter() -> None:
    trained = nn.BatchNorm2d(2)
    frozen = FrozenBatchNorm2d(2)
    assert frozen.load_state_dict(trained.state_dict()).unexpected_keys == []


@pytest.mark.parametrize("make", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_converting_freezes_every_batch_norm_with_its_values(
    make: Callable[[int], nn.Module],
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    random_statistics(model[1])
    x = torch.randn(2, 3, 5, 5)
    model.eval()
    before = model(x)
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(model) is model
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    torch.testing.assert_close(model.train()(x), before)
    assert isinstance(FrozenBatchNorm2d.convert_frozen_batchnorm(make(4)), FrozenBatchNorm2d)


@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_multiplies_a_frozen_norm_into_its_weights(bias: bool) -> None:
    norm = FrozenBatchNorm2d(6)
    random_statistics(norm)
    conv = Conv2d(4, 6, 3, padding=1, groups=2, bias=bias, norm=norm, activation=F.relu).double()
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    expected = F.relu(norm(F.conv2d(x, conv.weight, conv.bias, padding=1, groups=2)))
    torch.testing.assert_close(conv(x), expected)
    (grad,) = torch.autograd.grad(conv(x).square().sum(), conv.weight)
    (wanted,) = torch.autograd.grad(expected.square().sum(), conv.weight)
    torch.testing.assert_close(grad, wanted)


class Doubling(FrozenBatchNorm2d):
    """A norm with a forward of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_norm_that_does_more_than_its_kind_is_called() -> None:
    x = torch.randn(2, 4, 3, 3)
    conv = Conv2d(4, 6, 1, norm=Doubling(6))
    torch.testing.assert_close(conv(x), 2 * F.conv2d(x, conv.weight, conv.bias))
    hooked = Conv2d(4, 6, 1, norm=FrozenBatchNorm2d(6))
    seen: list[torch.Tensor] = []
    assert hooked.norm is not None
    hooked.norm.register_forward_hook(lambda module, args, output: seen.append(output))
    out = hooked(x)
    assert seen[0] is out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frozen_norm_keeps_variances_that_half_precision_does_not_hold(
    dtype: torch.dtype,
) -> None:
    norm = FrozenBatchNorm2d(1)
    norm.running_var.fill_(1e6)
    norm.weight.fill_(500.0)
    conv = Conv2d(1, 1, 1, bias=False, norm=norm)
    x = torch.ones(1, 1, 2, 2)
    wanted, of_norm = conv(x), norm(x)
    conv = conv.to(dtype)
    assert conv.weight.dtype == dtype
    assert norm.running_var.dtype == torch.float32
    for got, expected in ((conv(x.to(dtype)), wanted), (norm(x.to(dtype)), of_norm)):
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), expected, rtol=1e-2, atol=1e-2)
    assert norm.double().running_var.dtype == torch.float64


def test_a_convolution_applies_any_other_norm_then_the_activation() -> None:
    conv = Conv2d(4, 6, 1, bias=False, norm=nn.GroupNorm(2, 6), activation=torch.tanh)
    x = torch.randn(2, 4, 3, 3)
    assert conv.norm is not None
    torch.testing.assert_close(conv(x), torch.tanh(conv.norm(F.conv2d(x, conv.weight))))


def test_a_convolution_takes_an_empty_batch() -> None:
    conv = Conv2d(4, 6, 3, stride=2, padding=1, norm=FrozenBatchNorm2d(6))
    assert conv(torch.zeros(0, 4, 8, 8)).shape == (0, 6, 4, 4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("nnSyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("naiveSyncBN", NaiveSyncBatchNorm),
        ("naiveSyncBN_N", NaiveSyncBatchNorm),
    ],
)
def test_norms_are_found_by_name(name: str, kind: type[nn.Module]) -> None:
    assert isinstance(get_norm(name, 64), kind)


def test_no_norm_is_none_and_callables_are_called() -> None:
    assert get_norm("", 8) is get_norm(None, 8) is None
    norm = get_norm(lambda channels: nn.GroupNorm(1, channels), 8)
    assert isinstance(norm, nn.GroupNorm)


def test_an_unknown_norm_is_an_error_with_the_close_match() -> None:
    with pytest.raises(ValueError, match="did you mean 'FrozenBN'"):
        get_norm("FrozenBn", 8)


@pytest.mark.parametrize(
    ("channels", "groups"), [(256, 32), (32, 32), (64, 32), (16, 8), (48, 16), (24, 8), (5, 1)]
)
def test_group_norm_has_32_groups_where_channels_divide_and_fewer_elsewhere(
    channels: int, groups: int
) -> None:
    norm = get_norm("GN", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


def test_naive_sync_batch_norm_is_batch_norm_in_one_process() -> None:
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(NaiveSyncBatchNorm(3, stats_mode="N")(x), nn.BatchNorm2d(3)(x))
    with pytest.raises(ValueError, match="stats_mode"):
        NaiveSyncBatchNorm(3, stats_mode="n")


def test_cat_of_one_tensor_is_that_tensor() -> None:
    x = torch.randn(3)
    assert cat([x]) is x
    assert cat([x, x]).shape == (6,)


def test_nonzero_tuple_counts_a_scalar_as_a_vector() -> None:
    (index,) = nonzero_tuple(torch.tensor(3))
    assert index.tolist() == [0]
    rows, columns = nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_cross_entropy_of_nothing_is_a_differentiable_zero() -> None:
    scores = torch.zeros(0, 3, requires_grad=True)
    loss = cross_entropy(scores, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert scores.grad is not None


def test_cross_entropy_of_something_is_torchs() -> None:
    scores, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    for reduction in ("mean", "sum", "none"):
        torch.testing.assert_close(
            cross_entropy(scores, target, reduction=reduction),
            F.cross_entropy(scores, target, reduction=reduction),
        )


def test_shape_spec_fields_are_unknown_by_default() -> None:
    assert ShapeSpec(channels=3) == ShapeSpec(3, None, None, None)


def test_a_frozen_block_has_no_gradients_and_frozen_norms() -> None:
    class Block(CNNBlockBase):
        def __init__(self) -> None:
            super().__init__(3, 4, 1)
            self.conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))

    block = Block().freeze()
    assert not any(p.requires_grad for p in block.parameters())
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)


def test_depthwise_separable_convolution_is_grouped_then_pointwise() -> None:
    layer = DepthwiseSeparableConv2d(4, 6, norm1="BN", activation1=F.relu, norm2="BN").eval()
    assert layer.depthwise.groups == 4
    assert layer.depthwise.bias is None
    assert layer(torch.randn(2, 4, 5, 5)).shape == (2, 6, 5, 5)
    assert {"depthwise.norm.weight", "pointwise.norm.weight"} <= set(layer.state_dict())


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("window", [None, (4, 4)])
def test_aspp_keeps_the_size(separable: bool, window: tuple[int, int] | None) -> None:
    layer = ASPP(
        8,
        6,
        [1, 2, 3],
        norm="BN",
        activation=nn.ReLU(),
        pool_kernel_size=window,
        dropout=0.1,
        use_depthwise_separable_conv=separable,
    )
    assert layer(torch.randn(2, 8, 8, 8)).shape == (2, 6, 8, 8)
    assert len(layer.convs) == 5


def test_aspp_refuses_wrong_dilations_and_windows() -> None:
    with pytest.raises(ValueError, match="3 dilations"):
        ASPP(8, 6, [1, 2], norm="", activation=nn.ReLU())
    layer = ASPP(8, 6, [1, 2, 3], norm="", activation=nn.ReLU(), pool_kernel_size=(3, 4))
    with pytest.raises(ValueError, match="does not divide"):
        layer(torch.randn(1, 8, 8, 8))


def test_operators_of_d2_ops_are_found_among_the_layers() -> None:
    import d2_ops

    for name in ("nms", "batched_nms", "roi_align", "ROIAlign", "paste_masks_in_image"):
        assert getattr(layers, name) is getattr(d2_ops, name)
