"""ResNet and FPN."""

import pytest
import torch
from torch import nn

from d2_modeling.backbone import (
    FPN,
    Backbone,
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    LastLevelMaxPool,
    LastLevelP6P7,
    ResNet,
)
from d2_modeling.layers import FrozenBatchNorm2d, ShapeSpec

OUT_FEATURES = ("res2", "res3", "res4", "res5")


def small_resnet(norm: str = "BN", freeze_at: int = 0) -> ResNet:
    stages = [
        ResNet.make_stage(
            BasicBlock,
            1,
            in_channels=max(8, width // 2),
            out_channels=width,
            stride_per_block=[1 if width == 8 else 2],
            norm=norm,
        )
        for width in (8, 16, 32, 64)
    ]
    stem = BasicStem(out_channels=8, norm=norm)
    return ResNet(stem, stages, out_features=OUT_FEATURES, freeze_at=freeze_at)


def test_outputs_have_the_promised_channels_and_strides() -> None:
    resnet = small_resnet()
    outputs = resnet(torch.randn(1, 3, 64, 96))
    shapes = resnet.output_shape()
    assert shapes["res4"] == ShapeSpec(channels=32, stride=16)
    for name in OUT_FEATURES:
        stride = shapes[name].stride
        assert stride is not None
        assert outputs[name].shape == (1, shapes[name].channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160), (152, 58_143_808)],
)
def test_default_stages_have_the_published_number_of_parameters(
    depth: int, parameters: int
) -> None:
    with torch.device("meta"):
        model = ResNet(BasicStem(), ResNet.make_default_stages(depth))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_classifier_returns_the_linear_output() -> None:
    stages = [ResNet.make_stage(BasicBlock, 1, in_channels=8, out_channels=8)]
    model = ResNet(BasicStem(out_channels=8), stages, num_classes=5)
    assert model(torch.randn(2, 3, 32, 32))["linear"].shape == (2, 5)


def test_stages_beyond_the_last_output_are_not_built() -> None:
    stages = [ResNet.make_stage(BasicBlock, 1, in_channels=8, out_channels=8) for _ in range(3)]
    model = ResNet(BasicStem(out_channels=8), stages, out_features=["stem", "res3"])
    assert model.stage_names == ("res2", "res3")
    assert list(model(torch.randn(1, 3, 32, 32))) == ["stem", "res3"]


def test_freezing_two_stages_freezes_the_stem_and_res2() -> None:
    model = small_resnet(freeze_at=2)
    frozen = {n.split(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "res2"}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.stem.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in model.res2.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.res3.modules())


def test_per_block_arguments_go_to_their_block() -> None:
    blocks = ResNet.make_stage(
        BottleneckBlock,
        3,
        in_channels=16,
        out_channels=64,
        bottleneck_channels=16,
        stride_per_block=[2, 1, 1],
        dilation_per_block=[1, 1, 2],
    )
    assert [block.stride for block in blocks] == [2, 1, 1]
    assert [block.conv2.dilation for block in blocks] == [(1, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize(("in_1x1", "strides"), [(True, (2, 1)), (False, (1, 2))])
def test_the_stride_sits_where_it_was_asked_for(in_1x1: bool, strides: tuple[int, int]) -> None:
    block = BottleneckBlock(8, 16, bottleneck_channels=4, stride=2, stride_in_1x1=in_1x1)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet.make_default_stages(51), "no default ResNet of depth 51"),
        (
            lambda: ResNet.make_stage(
                BasicBlock, 2, in_channels=8, out_channels=8, stride_per_block=[1]
            ),
            "wants 2 values",
        ),
        (
            lambda: ResNet.make_stage(
                BasicBlock, 1, in_channels=8, out_channels=8, stride=1, stride_per_block=[1]
            ),
            "not both",
        ),
        (lambda: ResNet(BasicStem(), []), "at least one stage"),
        (
            lambda: ResNet(BasicStem(), ResNet.make_default_stages(18), out_features=["res6"]),
            "unknown 'res6'",
        ),
        (lambda: small_resnet()(torch.zeros(3, 32, 32)), r"\(N, C, H, W\)"),
    ],
)
def test_wrong_arguments_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
@pytest.mark.parametrize("fuse_type", ["sum", "avg"])
def test_pyramid_levels_follow_their_names(norm: str, fuse_type: str) -> None:
    fpn = FPN(small_resnet(), OUT_FEATURES, 16, norm, LastLevelMaxPool(), fuse_type)
    outputs = fpn(torch.randn(2, 3, 64, 64))
    assert list(outputs) == ["p2", "p3", "p4", "p5", "p6"]
    for level, output in enumerate(outputs.values(), start=2):
        assert output.shape == (2, 16, 64 // 2**level, 64 // 2**level)
    assert fpn.output_shape()["p6"] == ShapeSpec(channels=16, stride=64)
    assert fpn.size_divisibility == 32


def test_p6_and_p7_come_from_res5() -> None:
    bottom_up = small_resnet()
    fpn = FPN(bottom_up, ["res3", "res4", "res5"], 16, top_block=LastLevelP6P7(64, 16))
    outputs = fpn(torch.randn(1, 3, 128, 128))
    assert list(outputs) == ["p3", "p4", "p5", "p6", "p7"]
    assert outputs["p7"].shape[-2:] == (1, 1)


def test_square_padding_is_passed_on() -> None:
    fpn = FPN(small_resnet(), OUT_FEATURES, 16, square_pad=128)
    assert fpn.padding_constraints == {"square_size": 128}


def test_a_pyramid_wants_known_features_of_doubling_stride() -> None:
    with pytest.raises(ValueError, match="double"):
        FPN(small_resnet(), ["res2", "res4"], 16)
    with pytest.raises(ValueError, match="has only"):
        FPN(small_resnet(), ["res2", "res6"], 16)
    with pytest.raises(ValueError, match="fuse_type"):
        FPN(small_resnet(), OUT_FEATURES, 16, fuse_type="max")


def test_channels_last_input_gives_the_same_output() -> None:
    fpn = FPN(small_resnet(), OUT_FEATURES, 16).eval()
    x = torch.randn(1, 3, 64, 64)
    expected = fpn(x)["p3"]
    fpn = fpn.to(memory_format=torch.channels_last)
    got = fpn(x.to(memory_format=torch.channels_last))["p3"]
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_custom_backbone_promises_no_divisibility() -> None:
    class Toy(Backbone):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": x}

        def output_shape(self) -> dict[str, ShapeSpec]:
            return {"out": ShapeSpec(channels=3, stride=1)}

    assert (Toy().size_divisibility, Toy().padding_constraints) == (0, {})


def test_a_top_block_needs_a_feature_that_exists() -> None:
    with torch.device("meta"):
        resnet = ResNet(
            BasicStem(), ResNet.make_default_stages(18), out_features=["res2", "res3", "res4"]
        )
        with pytest.raises(ValueError, match="top block of FPN wants feature 'p5'"):
            FPN(resnet, ["res2", "res3", "res4"], 8, top_block=LastLevelMaxPool())
