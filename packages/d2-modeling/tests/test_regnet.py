"""RegNet: the published networks' shapes, freezing and outputs."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from d2_modeling.backbone import RegNet, ResBottleneckBlock, SimpleStem
from d2_modeling.backbone.regnet import SqueezeExcitation
from d2_modeling.layers import FrozenBatchNorm2d

# Widths, depths and millions of parameters of the paper's tables and of torchvision's models.
PUBLISHED: list[tuple[dict[str, Any], list[int], list[int], float]] = [
    (
        {"depth": 23, "w_a": 38.65, "w_0": 96, "w_m": 2.43, "group_width": 40},
        [80, 240, 560, 1360],
        [2, 5, 14, 2],
        22.1 - 1.361,  # without the classifier
    ),
    (
        {"depth": 22, "w_a": 31.41, "w_0": 96, "w_m": 2.24, "group_width": 64, "se_ratio": 0.25},
        [128, 192, 512, 1088],
        [2, 6, 12, 2],
        20.6 - 1.089,
    ),
]


def regnet(**options: Any) -> RegNet:
    small = {"depth": 4, "w_a": 8.0, "w_0": 8, "w_m": 2.0, "group_width": 4}
    return RegNet(
        stem_class=SimpleStem,
        block_class=ResBottleneckBlock,
        **{"stem_width": 8, **small, **options},
    )


@pytest.mark.parametrize(("options", "widths", "depths", "millions"), PUBLISHED)
def test_published_networks_have_their_published_shapes(
    options: dict[str, Any], widths: list[int], depths: list[int], millions: float
) -> None:
    with torch.device("meta"):
        network = regnet(stem_width=32, out_features=["s1", "s2", "s3", "s4"], **options)
    shapes = network.output_shape()
    assert [shape.channels for shape in shapes.values()] == widths
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    assert [len(list(stage.children())) for stage in network.stages] == depths
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.06)


# depth, w_0, w_a, w_m, group width; widths, depths and millions of parameters with classifier.
VARIANTS: dict[str, tuple[tuple[Any, ...], list[int], list[int], float]] = {
    "X-400MF": ((22, 24, 24.48, 2.54, 16), [32, 64, 160, 384], [1, 2, 7, 12], 5.2),
    "X-800MF": ((16, 56, 35.73, 2.28, 16), [64, 128, 288, 672], [1, 3, 7, 5], 7.3),
    "X-1.6GF": ((18, 80, 34.01, 2.25, 24), [72, 168, 408, 912], [2, 4, 10, 2], 9.2),
    "X-3.2GF": ((25, 88, 26.31, 2.25, 48), [96, 192, 432, 1008], [2, 6, 15, 2], 15.3),
    "X-8.0GF": ((23, 80, 49.56, 2.88, 120), [80, 240, 720, 1920], [2, 5, 15, 1], 39.6),
    "X-16GF": ((22, 216, 55.59, 2.1, 128), [256, 512, 896, 2048], [2, 6, 13, 1], 54.3),
    "X-32GF": ((23, 320, 69.86, 2.0, 168), [336, 672, 1344, 2520], [2, 7, 13, 1], 107.8),
    "Y-400MF": ((16, 48, 27.89, 2.09, 8), [48, 104, 208, 440], [1, 3, 6, 6], 4.3),
    "Y-800MF": ((14, 56, 38.84, 2.4, 16), [64, 128, 320, 768], [1, 3, 8, 2], 6.3),
    "Y-1.6GF": ((27, 48, 20.71, 2.65, 24), [48, 120, 336, 888], [2, 6, 17, 2], 11.2),
    "Y-3.2GF": ((21, 80, 42.63, 2.66, 24), [72, 216, 576, 1512], [2, 5, 13, 1], 19.4),
    "Y-8.0GF": ((17, 192, 76.82, 2.19, 56), [168, 448, 896, 2016], [2, 4, 10, 1], 39.2),
    "Y-16GF": ((18, 200, 106.23, 2.48, 112), [224, 448, 1232, 3024], [2, 4, 11, 1], 83.6),
    "Y-32GF": ((20, 232, 115.89, 2.53, 232), [232, 696, 1392, 3712], [2, 5, 12, 1], 145.0),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_the_paper_has_its_widths_and_size(name: str) -> None:
    line, widths, depths, millions = VARIANTS[name]
    options = dict(zip(("depth", "w_0", "w_a", "w_m", "group_width"), line, strict=True))
    with torch.device("meta"):
        network = regnet(
            stem_width=32,
            out_features=["s1", "s2", "s3", "s4"],
            se_ratio=0.25 if name[0] == "Y" else 0.0,
            **options,
        )
    assert [shape.channels for shape in network.output_shape().values()] == widths
    assert [len(list(stage.children())) for stage in network.stages] == depths
    classifier = widths[-1] * 1000 + 1000
    count = sum(p.numel() for p in network.parameters()) + classifier
    assert count / 1e6 == pytest.approx(millions, abs=0.0501)


def test_outputs_have_the_promised_shapes() -> None:
    network = regnet(out_features=["stem", "s2"])
    outputs = network(torch.randn(2, 3, 32, 32))
    assert set(outputs) == {"stem", "s2"}
    for name, shape in network.output_shape().items():
        assert shape.stride is not None
        size = 32 // shape.stride
        assert outputs[name].shape == (2, shape.channels, size, size)
    sum(x.sum() for x in outputs.values()).backward()


@pytest.mark.parametrize("se_ratio", [0.0, 0.25])
def test_freezing_stops_the_first_stages(se_ratio: float) -> None:
    network = regnet(freeze_at=2, se_ratio=se_ratio)
    frozen = [n for n, p in network.named_parameters() if not p.requires_grad]
    assert {name.split(".")[0] for name in frozen} == {"stem", "s1"}
    assert any(isinstance(m, FrozenBatchNorm2d) for m in network.stages[0].modules())
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in network.stages[1].modules())


def test_a_block_of_equal_widths_keeps_its_input_as_shortcut() -> None:
    block = ResBottleneckBlock(
        8, 8, 1, "", nn.Identity, bottleneck_ratio=1.0, group_width=4, se_ratio=0.0
    )
    assert block.proj is None
    nn.init.zeros_(block.f.c.weight)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_impossible_shapes_and_outputs_are_refused() -> None:
    for wrong in ({"w_0": 12}, {"w_m": 1.0}, {"w_a": -1.0}, {"depth": 0}):
        with pytest.raises(ValueError, match="RegNet wants"):
            regnet(**wrong)
    with pytest.raises(ValueError, match=r"unknown \['s9'\]"):
        regnet(out_features=["s9"])
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        regnet()(torch.zeros(3, 32, 32))


def test_channels_are_scaled_by_what_their_means_say() -> None:
    torch.manual_seed(0)
    module = SqueezeExcitation(4, 2, nn.ReLU).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    first, _, second, _ = module.f_ex
    means = x.flatten(2).mean(2)
    hidden = (means @ first.weight[:, :, 0, 0].T + first.bias).clamp(min=0)  # type: ignore[union-attr,operator,index]  # convolutions
    scale = (hidden @ second.weight[:, :, 0, 0].T + second.bias).sigmoid()  # type: ignore[union-attr,operator,index]  # convolutions
    torch.testing.assert_close(module(x), x * scale[:, :, None, None])


def test_the_squeeze_has_the_share_of_the_input_of_its_block() -> None:
    network = regnet(se_ratio=0.25, depth=2, w_a=8.0, w_0=16, stem_width=32)
    block: Any = network.stages[0].get_submodule("b1")
    assert block.f.se.f_ex[0].out_channels == 8  # a quarter of the stem's
    assert regnet().stages[0].get_submodule("b1.f").se is None


@settings(deadline=None, max_examples=20)
@given(
    depth=st.integers(1, 9),
    w_0=st.integers(1, 12).map(lambda n: 8 * n),
    w_a=st.floats(0, 60),
    w_m=st.floats(1.5, 3.0),
    group_width=st.sampled_from([4, 8, 16]),
)
def test_widths_grow_in_whole_groups_and_depths_add_up(
    depth: int, w_0: int, w_a: float, w_m: float, group_width: int
) -> None:
    """The line of equation 2 rounded to powers of w_m, as equations 3 and 4 have it."""
    shape = {"depth": depth, "w_0": w_0, "w_a": w_a, "w_m": w_m, "group_width": group_width}
    with torch.device("meta"):
        network = regnet(**shape)
    wanted = []
    for block in range(depth):
        exponent = round(math.log((w_0 + w_a * block) / w_0) / math.log(w_m))
        wanted.append(round(w_0 * w_m**exponent / 8) * 8)
    counts = [len(list(stage.children())) for stage in network.stages]
    assert counts == [wanted.count(width) for width in sorted(set(wanted))]
    for stage, width in zip(network.stages, sorted(set(wanted)), strict=True):
        block: Any = stage.get_submodule("b1")
        groups_of = min(group_width, width)
        assert block.out_channels == max(groups_of, round(width / groups_of) * groups_of)
        assert block.f.b.groups * groups_of == block.f.b.out_channels


@pytest.mark.parametrize("size", [(1, 1), (31, 50)])
def test_odd_sizes_are_rounded_up(size: tuple[int, int]) -> None:
    network = regnet(out_features=["stem", "s1", "s2"]).eval()
    for name, value in network(torch.randn(1, 3, *size)).items():
        stride = network.output_shape()[name].stride
        assert stride is not None
        assert value.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride))


def test_a_network_takes_no_images() -> None:
    network = regnet(out_features=["s1", "s2"]).eval()
    assert [len(value) for value in network(torch.zeros(0, 3, 64, 64)).values()] == [0, 0]


def test_the_stem_is_a_convolution_its_norm_and_an_activation() -> None:
    stem = SimpleStem(2, 4, "", nn.Tanh).double()
    assert (stem.in_channels, stem.out_channels, stem.stride) == (2, 4, 2)
    x = torch.randn(1, 2, 7, 6, dtype=torch.float64)
    wanted = nn.functional.conv2d(x, stem.conv.weight, stride=2, padding=1).tanh()
    torch.testing.assert_close(stem(x), wanted)


@pytest.mark.parametrize(("ratio", "width"), [(0.5, 8), (1.0, 16), (2.0, 32)])
def test_the_bottleneck_is_as_wide_as_its_ratio_says(ratio: float, width: int) -> None:
    block: Any = ResBottleneckBlock(
        8, 16, 2, "BN", nn.ReLU, bottleneck_ratio=ratio, group_width=4, se_ratio=0.0
    )
    assert block.f.b.in_channels == block.f.b.out_channels == width
    assert block.f.b.groups == width // 4
    assert block(torch.randn(2, 8, 5, 5)).shape == (2, 16, 3, 3)


def test_another_activation_takes_the_place_of_relu() -> None:
    network = regnet(activation_class=nn.SiLU, se_ratio=0.25)
    assert any(isinstance(m, nn.SiLU) for m in network.modules())
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())


@pytest.mark.parametrize("stride", [1, 2])
def test_the_stride_of_stages_may_be_another(stride: int) -> None:
    network = regnet(stride=stride, out_features=["s1", "s2"]).eval()
    strides = [shape.stride for shape in network.output_shape().values()]
    assert strides == [2 * stride, 2 * stride**2]
    out = network(torch.randn(1, 3, 32, 32))
    assert out["s2"].shape[2:] == (16 // stride**2, 16 // stride**2)
