"""What the blocks of residual networks compute, beside torch's functions in double precision."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_modeling.backbone import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    ResNet,
)
from d2_modeling.layers import CNNBlockBase, Conv2d, FrozenBatchNorm2d

ODD_SIZES = [(1, 1), (1, 9), (7, 2), (13, 11)]


def with_statistics(module: nn.Module) -> Any:
    """The module in double precision, whose norms are no identities."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            shape = (norm.num_features,)
            values = {
                "weight": torch.rand(shape, generator=generator) + 0.5,
                "bias": torch.randn(shape, generator=generator),
                "running_mean": torch.randn(shape, generator=generator),
                "running_var": torch.rand(shape, generator=generator) + 0.1,
            }
            norm.load_state_dict(values, strict=False)
    return module.double().eval()


def convolved(x: Tensor, layer: Any, stride: int = 1, dilation: int = 1, groups: int = 1) -> Tensor:
    """A convolution that keeps the size up to its stride, and batch norm by its definition."""
    padding = dilation * (layer.weight.shape[-1] // 2)
    out = F.conv2d(x, layer.weight, None, stride, padding, dilation, groups)
    norm = layer.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    columns = [v[:, None, None] for v in (norm.running_mean, scale, norm.bias)]
    return (out - columns[0]) * columns[1] + columns[2]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 1), (6, 2)])
def test_a_basic_block_adds_two_convolutions_to_its_shortcut(
    norm: str, channels: int, stride: int
) -> None:
    block = with_statistics(BasicBlock(4, channels, stride=stride, norm=norm))
    x = noise(2, 4, 9, 7)
    out = convolved(convolved(x, block.conv1, stride).relu(), block.conv2)
    shortcut = x if channels == 4 else convolved(x, block.shortcut, stride)
    torch.testing.assert_close(block(x), (out + shortcut).relu())


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize("in_1x1", [False, True])
@pytest.mark.parametrize(("groups", "dilation"), [(1, 1), (3, 2)])
def test_a_bottleneck_block_adds_three_convolutions_to_its_shortcut(
    norm: str, in_1x1: bool, groups: int, dilation: int
) -> None:
    options: dict[str, Any] = {"bottleneck_channels": 6, "stride": 2, "num_groups": groups}
    block = with_statistics(
        BottleneckBlock(4, 8, norm=norm, stride_in_1x1=in_1x1, dilation=dilation, **options)
    )
    x = noise(2, 4, 11, 8)
    first, second = (2, 1) if in_1x1 else (1, 2)
    out = convolved(x, block.conv1, first).relu()
    out = convolved(out, block.conv2, second, dilation, groups).relu()
    out = convolved(out, block.conv3) + convolved(x, block.shortcut, 2)
    torch.testing.assert_close(block(x), out.relu())


def test_a_block_whose_last_norm_is_zero_passes_positive_maps_on() -> None:
    block = BottleneckBlock(8, 8, bottleneck_channels=4, norm="BN").eval()
    assert block.shortcut is None
    nn.init.zeros_(block.conv3.norm.weight)  # type: ignore[union-attr]  # it has one
    x = torch.rand(1, 8, 5, 6)
    assert torch.equal(block(x), x)


def test_the_stem_is_a_convolution_of_7_and_a_pooling_of_3_pixels() -> None:
    stem = with_statistics(BasicStem(2, 5))
    assert (stem.in_channels, stem.out_channels, stem.stride) == (2, 5, 4)
    x = noise(2, 2, 21, 30)
    out = convolved(x, stem.conv1, 2).relu()
    padded = F.pad(out, (1, 1, 1, 1))  # of what is positive: zeros lose against everything
    windows = padded.unfold(2, 3, 2).unfold(3, 3, 2)
    torch.testing.assert_close(stem(x), windows.amax(dim=(4, 5)))


@pytest.mark.parametrize("size", ODD_SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda stride: BasicBlock(4, 6, stride=stride),
        lambda stride: BottleneckBlock(4, 6, bottleneck_channels=2, stride=stride),
        lambda stride: BottleneckBlock(
            4, 6, bottleneck_channels=2, stride=stride, stride_in_1x1=True, dilation=2
        ),
        lambda stride: DeformBottleneckBlock(4, 6, bottleneck_channels=2, stride=stride),
    ],
)
def test_blocks_round_odd_sizes_up(make: Any, stride: int, size: tuple[int, int]) -> None:
    block: CNNBlockBase = make(stride).eval()
    assert block.stride == stride
    out = block(torch.randn(1, 4, *size))
    assert out.shape == (1, 6, -(-size[0] // stride), -(-size[1] // stride))
    assert out.isfinite().all()


@pytest.mark.parametrize("freeze_at", range(7))
def test_as_many_stages_are_frozen_as_are_asked_for(freeze_at: int) -> None:
    model = small(freeze_at=freeze_at)
    order = ["stem", "res2", "res3", "res4", "res5"]
    for place, name in enumerate(order):
        part = model.get_submodule(name)
        frozen = place < freeze_at
        assert {p.requires_grad for p in part.parameters()} == {not frozen}
        kinds = {type(m) for m in part.modules() if "BatchNorm" in type(m).__name__}
        assert kinds == {FrozenBatchNorm2d if frozen else nn.BatchNorm2d}


def small(freeze_at: int = 0, **options: Any) -> ResNet:
    stages = [
        ResNet.make_stage(
            BasicBlock, 1, in_channels=4, out_channels=4, stride_per_block=[1 if k == 0 else 2]
        )
        for k in range(4)
    ]
    given = {"out_features": ["stem", "res2", "res3", "res4", "res5"]} | options
    return ResNet(BasicStem(out_channels=4), stages, freeze_at=freeze_at, **given)


def test_frozen_stages_have_no_gradients_and_keep_their_statistics() -> None:
    model = small(freeze_at=3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(value.square().sum() for value in model(torch.randn(2, 3, 64, 64)).values()).backward()
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    changed = {n.split(".")[0] for n, v in model.state_dict().items() if not v.equal(before[n])}
    assert trained == changed == {"res4", "res5"}


def test_freezing_can_go_on_later_and_returns_the_network() -> None:
    model = small()
    assert model.freeze(2) is model
    assert model.freeze(3) is model
    assert not any(p.requires_grad for p in model.get_submodule("res3").parameters())
    assert all(p.requires_grad for p in model.get_submodule("res4").parameters())


def test_freezing_keeps_the_names_and_values_of_every_weight() -> None:
    model = with_statistics(small())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = model.freeze(5).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_freezing_changes_no_output_in_evaluation() -> None:
    model = with_statistics(small())
    x = noise(1, 3, 40, 33)
    before = model(x)
    torch.testing.assert_close(model.freeze(5)(x), before)


def test_outputs_come_in_the_order_of_stages_whatever_the_order_asked_for() -> None:
    model = small(out_features=["res5", "stem", "res3"])
    assert list(model(torch.randn(1, 3, 64, 64))) == ["stem", "res3", "res5"]
    assert set(model.output_shape()) == {"stem", "res3", "res5"}


def test_without_named_outputs_the_last_one_is_returned() -> None:
    assert list(small(out_features=None).output_shape()) == ["res5"]
    assert list(small(out_features=None, num_classes=3)(torch.randn(1, 3, 64, 64))) == ["linear"]


def test_the_classifier_is_linear_in_the_mean_of_the_last_map() -> None:
    model = with_statistics(small(out_features=["res5", "linear"], num_classes=3))
    outputs = model(noise(2, 3, 65, 70))
    mean = outputs["res5"].flatten(2).mean(2)
    torch.testing.assert_close(outputs["linear"], mean @ model.linear.weight.T)
    assert not model.linear.bias.any()


def test_a_classifier_keeps_all_stages_even_where_only_an_early_map_is_wanted() -> None:
    model = small(out_features=["res2", "linear"], num_classes=3)
    assert model.stage_names == ("res2", "res3", "res4", "res5")
    assert len(model.stages) == 4


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (65, 31)])
def test_maps_of_any_size_are_rounded_up_at_every_stride(size: tuple[int, int]) -> None:
    model = small().eval()
    for name, value in model(torch.randn(1, 3, *size)).items():
        stride = model.output_shape()[name].stride
        assert stride is not None
        assert value.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride))


def test_a_network_takes_no_images_and_half_precision() -> None:
    model = small(freeze_at=5).eval()
    assert model(torch.zeros(0, 3, 64, 64))["res5"].shape == (0, 4, 2, 2)
    x = torch.randn(1, 3, 64, 64)
    wanted = model(x)["res4"]
    got = model.to(torch.bfloat16)(x.to(torch.bfloat16))["res4"]
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=0.1, atol=0.1)


def test_a_block_that_is_none_is_named_with_its_stage() -> None:
    stage = [nn.Conv2d(4, 4, 1)]
    with pytest.raises(ValueError, match=r"blocks of res2 have to be CNNBlockBase, got Conv2d"):
        ResNet(BasicStem(out_channels=4), [stage])  # type: ignore[list-item]  # wrong on purpose


def test_an_unknown_output_gets_a_suggestion_and_all_names() -> None:
    with pytest.raises(
        ValueError, match=r"unknown 'res_4'; did you mean 'res4'\? Outputs are \['stem', 'res2'"
    ):
        small(out_features=["res_4"])
    with pytest.raises(ValueError, match="unknown 'linear'"):
        small(out_features=["linear"])


def test_default_stages_take_another_block() -> None:
    class Wide(BottleneckBlock):
        pass

    with torch.device("meta"):
        stages = ResNet.make_default_stages(50, Wide, norm="GN", stride_in_1x1=True)
    assert [len(stage) for stage in stages] == [3, 4, 6, 3]
    assert [stage[0].stride for stage in stages] == [1, 2, 2, 2]
    assert [stage[-1].out_channels for stage in stages] == [256, 512, 1024, 2048]
    assert {type(block) for stage in stages for block in stage} == {Wide}
    first: Any = stages[1][0]
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    assert isinstance(first.conv2.norm, nn.GroupNorm)


def test_norms_may_be_left_out_of_every_block() -> None:
    block = BottleneckBlock(4, 8, bottleneck_channels=2, norm="")
    convolutions = [m for m in block.modules() if isinstance(m, Conv2d)]
    assert len(convolutions) == 4
    assert all(layer.norm is None and layer.bias is None for layer in convolutions)
