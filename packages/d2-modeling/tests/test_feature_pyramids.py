"""What pyramids compute, beside their definition in double precision."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling.backbone import (
    FPN,
    Backbone,
    LastLevelMaxPool,
    LastLevelP6P7,
    SimpleFeaturePyramid,
)
from d2_modeling.layers import ShapeSpec


class Maps(Backbone):
    """Gives maps of noise of the channels and strides asked for, or says what it would."""

    def __init__(self, **shapes: tuple[int, int]) -> None:
        super().__init__()
        self._out_features = list(shapes)
        self._out_feature_channels = {name: channels for name, (channels, _) in shapes.items()}
        self._out_feature_strides = {name: stride for name, (_, stride) in shapes.items()}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(
                *(len(x), shape.channels or 0),
                *(-(-side // (shape.stride or 1)) for side in x.shape[2:]),
                generator=generator,
                dtype=torch.float64,
            ).to(x.dtype)
            for name, shape in self.output_shape().items()
        }


THREE = {"a": (3, 4), "b": (5, 8), "c": (6, 16)}


def image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.zeros(batch, 3, height, width, dtype=torch.float64)


def convolved(x: Tensor, layer: Any) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def doubled(x: Tensor) -> Tensor:
    """Each pixel four times."""
    return torch.stack([x, x], -1).flatten(-2).repeat_interleave(2, dim=-2)


@settings(deadline=None, max_examples=15)
@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    fuse_type=st.sampled_from(["sum", "avg"]),
    batch=st.integers(0, 2),
)
def test_each_level_is_its_lateral_and_what_is_coarser(
    size: tuple[int, int], fuse_type: str, batch: int
) -> None:
    torch.manual_seed(0)
    pyramid = FPN(Maps(**THREE), ["a", "b", "c"], 7, fuse_type=fuse_type).double()
    for parameter in pyramid.parameters():
        nn.init.normal_(parameter)
    x = image(16 * size[0], 16 * size[1], batch)
    below = pyramid.bottom_up(x)
    share = 1.0 if fuse_type == "sum" else 0.5
    parts: Any = pyramid
    p4 = convolved(below["c"], parts.fpn_lateral4)
    p3 = (convolved(below["b"], parts.fpn_lateral3) + doubled(p4)) * share
    p2 = (convolved(below["a"], parts.fpn_lateral2) + doubled(p3)) * share
    outputs = pyramid(x)
    assert list(outputs) == ["p2", "p3", "p4"]
    for level, merged in enumerate((p2, p3, p4), start=2):
        wanted = convolved(merged, pyramid.get_submodule(f"fpn_output{level}"))
        torch.testing.assert_close(outputs[f"p{level}"], wanted)


def test_a_level_is_named_by_its_stride_and_others_are_left_out() -> None:
    pyramid = FPN(Maps(a=(3, 1), b=(3, 2), c=(3, 4)), ["b", "c"], 4)
    assert pyramid.output_shape() == {
        "p1": ShapeSpec(channels=4, stride=2),
        "p2": ShapeSpec(channels=4, stride=4),
    }
    assert pyramid.size_divisibility == 4


def test_a_map_of_stride_1_is_level_0() -> None:
    pyramid = FPN(Maps(a=(3, 1), b=(3, 2)), ["a", "b"], 4).double()
    assert {k: v.shape[2:] for k, v in pyramid(image(6, 8)).items()} == {"p0": (6, 8), "p1": (3, 4)}


@pytest.mark.parametrize(
    "shapes",
    [
        {"a": (3, 4), "b": (3, 16)},
        {"a": (3, 8), "b": (3, 4)},
        {"a": (3, 6), "b": (3, 12)},
        {"a": (3, 4), "b": (3, 9)},
        {"a": (3, 0), "b": (3, 1)},
    ],
)
def test_strides_that_do_not_double_are_named(shapes: dict[str, tuple[int, int]]) -> None:
    strides = [stride for _, stride in shapes.values()]
    with pytest.raises(ValueError, match=rf"powers of two and double, got \[{strides[0]}, "):
        FPN(Maps(**shapes), ["a", "b"], 4)


def test_no_features_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in_features \[\]: bottom-up has only \['a', 'b', 'c'\]"):
        FPN(Maps(**THREE), [], 4)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (6, 3)])
def test_a_pooled_level_is_every_second_pixel(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    (level,) = LastLevelMaxPool()(x)
    assert torch.equal(level, x[:, :, ::2, ::2])


def test_the_levels_6_and_7_are_two_convolutions_with_an_activation_between_them() -> None:
    block = LastLevelP6P7(3, 4).double()
    x = torch.randn(1, 3, 7, 5, dtype=torch.float64)
    p6, p7 = block(x)
    wanted = F.conv2d(x, block.p6.weight, block.p6.bias, 2, 1)
    torch.testing.assert_close(p6, wanted)
    assert (p6 < 0).any()  # no activation behind it
    torch.testing.assert_close(
        p7, F.conv2d(wanted.clamp(min=0), block.p7.weight, block.p7.bias, 2, 1)
    )
    assert (p6.shape[2:], p7.shape[2:]) == ((4, 3), (2, 2))
    assert not block.p6.bias.any()  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize("source", ["c", "p4"])
def test_a_top_block_works_on_a_map_of_either_network(source: str) -> None:
    block = LastLevelP6P7(6, 6, source)
    pyramid = FPN(Maps(**THREE), ["a", "b", "c"], 6, top_block=block).double()
    x = image(32, 64)
    outputs = pyramid(x)
    feature = pyramid.bottom_up(x)["c"] if source == "c" else outputs["p4"]
    assert torch.equal(outputs["p5"], block.p6(feature))
    assert {k: v.stride for k, v in pyramid.output_shape().items()} == {
        f"p{k}": 2**k for k in range(2, 7)
    }
    assert pyramid.size_divisibility == 16  # the levels on top round up


def test_a_pyramid_with_norms_has_no_biases() -> None:
    for norm, biases in (("", True), ("BN", False), ("GN", False)):
        pyramid = FPN(Maps(**THREE), ["a", "b", "c"], 32, norm)
        layers = [m for m in pyramid.modules() if isinstance(m, nn.Conv2d)]
        assert len(layers) == 6
        assert all((layer.bias is not None) == biases for layer in layers)


def test_a_pyramid_without_a_square_asks_for_none() -> None:
    assert FPN(Maps(**THREE), ["c"], 4).padding_constraints == {"square_size": 0}


# On a single map


def plain(scales: tuple[float, ...], stride: int = 16, **options: Any) -> SimpleFeaturePyramid:
    torch.manual_seed(0)
    given = {"norm": "", **options}
    return SimpleFeaturePyramid(Maps(last=(8, stride)), "last", 6, scales, **given).double()


def transposed(x: Tensor, layer: Any) -> Tensor:
    """Each pixel becomes a square of 2 × 2 pixels, which do not meet."""
    squares = torch.einsum("nchw,cdij->ndhiwj", x, layer.weight)
    return squares.flatten(4, 5).flatten(2, 3) + layer.bias[:, None, None]


def test_each_scale_is_brought_about_by_its_layers() -> None:
    pyramid = plain((4.0, 2.0, 1.0, 0.5))
    x = image(32, 64)
    feature = pyramid.net(x)["last"]
    outputs = pyramid(x)
    parts: Any = pyramid
    ahead = {
        "p2": lambda level, x: transposed(F.gelu(transposed(x, level[0])), level[3]),
        "p3": lambda level, x: transposed(x, level[0]),
        "p4": lambda level, x: x,
        "p5": lambda level, x: x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5)),
    }
    assert list(outputs) == list(ahead)
    for name, scaled in ahead.items():
        level = parts.get_submodule(f"simfp_{name[1]}")
        wanted = convolved(convolved(scaled(level, feature), level[-2]), level[-1])
        torch.testing.assert_close(outputs[name], wanted)


def test_levels_have_half_and_quarter_the_channels_before_they_are_projected() -> None:
    parts: Any = plain((4.0, 2.0, 1.0))
    assert [m.in_channels for m in parts.simfp_2 if hasattr(m, "in_channels")] == [8, 4, 2, 6]
    assert [m.in_channels for m in parts.simfp_3 if hasattr(m, "in_channels")] == [8, 4, 6]
    assert [m.in_channels for m in parts.simfp_4] == [8, 6]


def test_levels_come_in_the_order_of_their_scales() -> None:
    pyramid = plain((0.5, 2.0))
    assert list(pyramid(image(32, 32))) == list(pyramid.output_shape()) == ["p5", "p3"]
    assert pyramid.size_divisibility == 32


def test_norms_of_a_level_take_the_place_of_biases() -> None:
    for norm, biases in (("LN", [False, False]), ("", [True, True])):
        level = plain((1.0,), norm=norm).get_submodule("simfp_4")
        assert [layer.bias is not None for layer in level.children()] == biases  # type: ignore[attr-defined]  # convolutions


def test_a_pooled_level_stands_on_the_last_scale() -> None:
    pyramid = plain((2.0, 1.0), top_block=_Pooled("p4"))
    outputs = pyramid(image(32, 64))
    assert list(outputs) == ["p3", "p4", "p5"]
    assert torch.equal(outputs["p5"], outputs["p4"][:, :, ::2, ::2])
    assert pyramid.output_shape()["p5"] == ShapeSpec(channels=6, stride=32)
    assert pyramid.padding_constraints == {"size_divisibility": 16, "square_size": 0}


class _Pooled(LastLevelMaxPool):
    def __init__(self, in_feature: str) -> None:
        super().__init__()
        self.in_feature = in_feature


def test_a_top_block_of_a_single_map_needs_a_feature_that_exists() -> None:
    with pytest.raises(ValueError, match=r"wants feature 'p5'; there are \['last', 'p3', 'p4'\]"):
        plain((2.0, 1.0), top_block=LastLevelMaxPool())


@pytest.mark.parametrize("stride", [14, 12])
def test_a_stride_that_is_no_power_of_two_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match=rf"stride of 'last' has to be a power of two.* {stride}"):
        plain((2.0, 1.0), stride)


def test_a_scale_finer_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scale 4\.0 .* stride 2"):
        plain((4.0, 1.0), 2)


def test_a_scale_that_comes_twice_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"scale_factors names a scale twice: \[2\.0, 1\.0, 2\.0\]"
    ):
        plain((2.0, 1.0, 2.0))
