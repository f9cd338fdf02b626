"""Our networks with the weights of torchvision's, and their parameters, beside torchvision."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.backbone import (
    FPN,
    Backbone,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    LastLevelP6P7,
    RegNet,
    ResBottleneckBlock,
    ResNet,
    SimpleStem,
    SwinTransformer,
)
from d2_modeling.layers import Conv2d, FrozenBatchNorm2d
from d2_modeling.weights import convert_torchvision_resnet, match_weights

pytest.importorskip("torchvision", reason="torchvision is not installed: an extra")
from torchvision import models, ops


def with_statistics(model: Any) -> Any:
    """The model in double precision and evaluation; its norms have statistics of noise."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def picture(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(1, 3, height, width, dtype=torch.float64)


# ResNet


@pytest.mark.parametrize(
    ("name", "depth"),
    [("resnet18", 18), ("resnet50", 50), ("resnext50_32x4d", 50)],
)
def test_residual_networks_give_torchvisions_scores(name: str, depth: int) -> None:
    theirs = with_statistics(getattr(models, name)(num_classes=7))
    stages = resnext() if "resnext" in name else ResNet.make_default_stages(depth)
    ours: Any = ResNet(BasicStem(), stages, num_classes=7).double().eval()
    match = match_weights(ours.state_dict(), convert_torchvision_resnet(theirs.state_dict()))
    assert match.complete, match.report()
    ours.load_state_dict(match.state_dict)
    x = picture(61, 70)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)["linear"], theirs(x))


def resnext() -> list[list[Any]]:
    """The stages of a ResNeXt-50 of 32 groups of 4 channels."""
    stages, channels = [], 64
    for index, count in enumerate((3, 4, 6, 3)):
        out = 256 * 2**index
        stages.append(
            ResNet.make_stage(
                BottleneckBlock,
                count,
                in_channels=channels,
                out_channels=out,
                bottleneck_channels=out // 2,
                num_groups=32,
                stride_per_block=[1 if index == 0 else 2] + [1] * (count - 1),
            )
        )
        channels = out
    return stages


# RegNet


REGNETS: dict[str, dict[str, Any]] = {
    "regnet_x_800mf": {"depth": 16, "w_0": 56, "w_a": 35.73, "w_m": 2.28, "group_width": 16},
    "regnet_y_400mf": {"depth": 16, "w_0": 48, "w_a": 27.89, "w_m": 2.09, "group_width": 8},
}
"""Of those whose widths torchvision does not round up."""


def regnet(name: str) -> RegNet:
    return RegNet(
        stem_class=SimpleStem,
        stem_width=32,
        block_class=ResBottleneckBlock,
        se_ratio=0.25 if "_y_" in name else 0.0,
        out_features=["s1", "s2", "s3", "s4"],
        **REGNETS[name],
    )


def our_regnet_name(name: str) -> str:
    name = re.sub(r"^stem\.0", "stem.conv", name)
    name = re.sub(r"^stem\.1", "stem.bn", name)
    name = re.sub(
        r"^trunk_output\.block(\d)\.block\d-(\d+)", lambda m: f"s{m[1]}.b{int(m[2]) + 1}", name
    )
    name = name.replace("proj.0", "proj").replace("proj.1", "bn")
    name = re.sub(r"f\.([abc])\.0", r"f.\1", name)
    name = re.sub(r"f\.([abc])\.1", r"f.\1_bn", name)
    return name.replace("se.fc1", "se.f_ex.0").replace("se.fc2", "se.f_ex.2")


@pytest.mark.parametrize("name", REGNETS)
def test_regnets_give_torchvisions_maps(name: str) -> None:
    theirs = with_statistics(models.get_model(name))
    ours = regnet(name).double().eval()
    state = {our_regnet_name(n): v for n, v in theirs.state_dict().items()}
    ours.load_state_dict({n: v for n, v in state.items() if not n.startswith("fc.")})
    x = picture(63, 50)
    with torch.no_grad():
        wanted, outputs = theirs.stem(x), ours(x)
        for name_of, stage in zip(outputs, theirs.trunk_output, strict=True):
            wanted = stage(wanted)
            torch.testing.assert_close(outputs[name_of], wanted)


# Swin


def our_swin_name(name: str) -> str:
    name = name.replace("features.0.0", "patch_embed.proj").replace(
        "features.0.2", "patch_embed.norm"
    )
    name = name.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
    number, _, rest = name.removeprefix("features.").partition(".")
    if not number.isdigit():
        return name
    stage, merges = (int(number) - 1) // 2, int(number) % 2 == 0
    return f"layers.{stage}.{'downsample' if merges else 'blocks'}.{rest}"


@pytest.mark.parametrize("size", [(56, 56), (64, 84)])
def test_shifted_windows_give_torchvisions_maps(size: tuple[int, int]) -> None:
    """On maps larger than a window; smaller ones torchvision does not shift."""
    torch.manual_seed(0)
    theirs: Any = models.SwinTransformer(
        *([4, 4], 12, [2, 3], [2, 3], [3, 3]), stochastic_depth_prob=0.0
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = theirs.double().eval()
    ours = SwinTransformer(
        embed_dim=12, depths=(2, 3), num_heads=(2, 3), window_size=3, out_indices=(0, 1)
    )
    ours = ours.double().eval()
    state = {our_swin_name(n): v for n, v in theirs.state_dict().items()}
    state = {n: v.view(9, 9) if n.endswith("_index") else v for n, v in state.items()}
    used = {n: v for n, v in state.items() if n.split(".")[0] in ("patch_embed", "layers")}
    result = ours.load_state_dict(used, strict=False)
    assert result.unexpected_keys == []
    assert {n.split(".")[0] for n in result.missing_keys} == {"norm0", "norm1"}
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        outputs = ours(x)
        for index, name in ((1, "p0"), (3, "p1")):
            wanted = theirs.features[: index + 1](x)
            normalised = ours.get_submodule(f"norm{name[1]}")(wanted)
            torch.testing.assert_close(outputs[name], normalised.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "width", "depths"),
    [("swin_t", 96, (2, 2, 6, 2)), ("swin_s", 96, (2, 2, 18, 2)), ("swin_b", 128, (2, 2, 18, 2))],
)
def test_every_swin_transformer_has_torchvisions_weights_under_other_names(
    name: str, width: int, depths: tuple[int, ...]
) -> None:
    heads = [width // 32 * 2**stage for stage in range(4)]
    with torch.device("meta"):
        theirs = models.get_model(name).state_dict()
        ours = SwinTransformer(embed_dim=width, depths=depths, num_heads=heads).state_dict()
    wanted = {
        our_swin_name(n): v.numel() for n, v in theirs.items() if n.split(".")[0] == "features"
    }
    assert {n: v.numel() for n, v in ours.items() if not n.startswith("norm")} == wanted


# Pyramids and layers


class Given(Backbone):
    """Maps that do not depend on the image."""

    def __init__(self, maps: dict[str, Tensor], strides: list[int]) -> None:
        super().__init__()
        self.maps = maps
        self._out_features = list(maps)
        self._out_feature_channels = {name: one.shape[1] for name, one in maps.items()}
        self._out_feature_strides = dict(zip(maps, strides, strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.maps


@pytest.mark.parametrize("with_top", [False, True])
def test_pyramids_give_torchvisions_levels(with_top: bool) -> None:
    torch.manual_seed(0)
    channels = [3, 4, 5]
    maps = {
        f"res{k + 3}": torch.randn(2, channels[k], 16 >> k, 24 >> k, dtype=torch.float64)
        for k in range(3)
    }
    top = ops.feature_pyramid_network.LastLevelP6P7(5, 6) if with_top else None
    theirs = ops.FeaturePyramidNetwork(channels, 6, extra_blocks=top).double()
    ours = FPN(
        Given(maps, [8, 16, 32]), list(maps), 6, top_block=LastLevelP6P7(5, 6) if with_top else None
    ).double()
    state = {}
    for name, value in theirs.state_dict().items():
        match = re.fullmatch(r"(inner|layer)_blocks\.(\d)\.0\.(\w+)", name)
        if match is None:
            state[name.replace("extra_blocks", "top_block")] = value
        else:
            kind = {"inner": "lateral", "layer": "output"}[match[1]]
            state[f"fpn_{kind}{int(match[2]) + 3}.{match[3]}"] = value
    ours.load_state_dict(state)
    wanted, outputs = theirs(maps), ours(torch.zeros(2, 3, 128, 192))
    assert len(outputs) == len(wanted) == (5 if with_top else 3)
    for value, expected in zip(outputs.values(), wanted.values(), strict=True):
        torch.testing.assert_close(value, expected)


def test_frozen_norms_are_torchvisions() -> None:
    torch.manual_seed(0)
    theirs, ours = ops.FrozenBatchNorm2d(5), FrozenBatchNorm2d(5)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(theirs, name).uniform_(0.1, 3.0)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 4, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    conv = Conv2d(5, 5, 3, norm=ours)
    plain = nn.functional.conv2d(x, conv.weight, conv.bias)
    torch.testing.assert_close(conv(x), theirs(plain))


def test_converted_residual_networks_are_those_made_with_frozen_norms() -> None:
    theirs = with_statistics(models.resnet18(num_classes=3))
    frozen: Any = models.resnet18(num_classes=3, norm_layer=ops.FrozenBatchNorm2d).double().eval()
    state = {n: v for n, v in theirs.state_dict().items() if not n.endswith("tracked")}
    frozen.load_state_dict(state)
    x = picture()
    with torch.no_grad():
        wanted = frozen(x)
        converted = FrozenBatchNorm2d.convert_frozen_batchnorm(theirs)
        torch.testing.assert_close(converted.train()(x), wanted)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 2, 2)])
def test_deformable_blocks_sample_where_torchvision_does(
    modulated: bool, stride: int, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    block: Any = DeformBottleneckBlock(
        *(4, 8),
        bottleneck_channels=4,
        stride=stride,
        dilation=dilation,
        num_groups=groups,
        deform_modulated=modulated,
        deform_num_groups=2,
        norm="",
    ).double()
    nn.init.normal_(block.conv2_offset.weight, std=0.3)
    nn.init.normal_(block.conv2_offset.bias, std=0.5)
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    predicted = block.conv2_offset(x)
    assert predicted.shape[1] == (54 if modulated else 36)
    wanted = ops.deform_conv2d(
        x,
        predicted[:, :36],
        block.conv2.weight,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        mask=predicted[:, 36:].sigmoid() if modulated else None,
    )
    torch.testing.assert_close(block.convolve_3x3(x), wanted)
