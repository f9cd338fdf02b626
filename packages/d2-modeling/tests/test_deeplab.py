"""DeepLab apart from its reference models."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from d2_config import CfgNode, get_cfg
from d2_modeling import BACKBONE_REGISTRY, SEM_SEG_HEADS_REGISTRY, ShapeSpec
from d2_modeling.deeplab import (
    DeepLabCE,
    DeepLabStem,
    DeepLabV3Head,
    DeepLabV3PlusHead,
    add_deeplab_config,
    build_resnet_deeplab_backbone,
)

SHAPES = {"res2": ShapeSpec(channels=8, stride=4), "res5": ShapeSpec(channels=16, stride=16)}
OPTIONS: dict[str, Any] = {
    "aspp_dilations": [1, 2, 3],
    "aspp_dropout": 0.0,
    "norm": "BN",
}


def v3_plus(**options: Any) -> DeepLabV3PlusHead:
    given = {"project_channels": [4], "decoder_channels": [6, 6], "common_stride": 4}
    return DeepLabV3PlusHead(SHAPES, **{**OPTIONS, **given, "num_classes": 3, **options})


def features() -> dict[str, torch.Tensor]:
    return {"res2": torch.randn(2, 8, 16, 24), "res5": torch.randn(2, 16, 4, 6)}


def deeplab_cfg() -> CfgNode:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    return cfg


@given(share=st.floats(0.01, 1.0), seed=st.integers(0, 1000))
def test_hard_pixels_are_those_of_the_largest_loss(share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 3, (2, 5, 7), generator=generator)
    if int(share * 70) == 0:
        return
    losses = sorted(
        0.0 if label < 0 else float(-pixel.log_softmax(0)[label])
        for pixel, label in zip(
            logits.permute(0, 2, 3, 1).reshape(-1, 3), labels.flatten().tolist(), strict=True
        )
    )[::-1]
    count = 70 if share == 1.0 else int(share * 70)
    got = DeepLabCE(ignore_label=-1, top_k_percent_pixels=share)(logits, labels)
    assert float(got) == pytest.approx(sum(losses[:count]) / count)


def test_weights_of_pixels_and_classes_multiply_the_loss() -> None:
    logits, labels = torch.randn(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 2]]])
    of_classes = torch.tensor([1.0, 2.0, 0.0])
    plain = F.cross_entropy(logits, labels, reduction="none")
    got = DeepLabCE(weight=of_classes)(logits, labels, torch.tensor([[[3.0, 1], [1, 1]]]))
    torch.testing.assert_close(got, (3 * plain[0, 0, 0] + 2 * plain[0, 0, 1]) / 4)
    with pytest.raises(ValueError, match=r"top_k_percent_pixels has to be in \(0, 1\], got 0"):
        DeepLabCE(top_k_percent_pixels=0)


@pytest.mark.parametrize("separable", [False, True])
def test_the_decoder_ends_at_the_finest_map_and_the_head_at_the_input(separable: bool) -> None:
    head = v3_plus(use_depthwise_separable_conv=separable)
    assert head.layers(features()).shape == (2, 3, 16, 24)
    loss_of = head(features(), torch.zeros(2, 64, 96, dtype=torch.int64))[1]
    assert set(loss_of) == {"loss_sem_seg"}
    with pytest.raises(ValueError, match="wants targets while training"):
        head(features())
    logits, losses = head.eval()(features())
    assert logits.shape == (2, 3, 64, 96)
    assert losses == {}


def test_without_classes_the_head_is_a_decoder() -> None:
    head = v3_plus(num_classes=None)
    assert head.predictor is None
    assert head.layers(features()).shape == (2, 6, 16, 24)


def test_channels_have_to_go_with_the_features() -> None:
    with pytest.raises(ValueError, match="want 1 project_channels and 2 decoder_channels"):
        v3_plus(project_channels=[4, 4])
    with pytest.raises(ValueError, match="'focal' is not one of"):
        v3_plus(loss_type="focal")


def test_v3_has_one_map_at_its_own_stride() -> None:
    given = {**OPTIONS, "num_classes": 3, "aspp_channels": 6}
    head = DeepLabV3Head({"res5": SHAPES["res5"]}, common_stride=16, **given)
    assert head.eval()(features())[0].shape == (2, 3, 64, 96)
    with pytest.raises(ValueError, match="wants one feature map, got"):
        DeepLabV3Head(SHAPES, common_stride=16, **given)
    with pytest.raises(ValueError, match="'res5' is 16, and common_stride is 4"):
        DeepLabV3Head({"res5": SHAPES["res5"]}, common_stride=4, **given)
    windowed = DeepLabV3Head(
        {"res5": SHAPES["res5"]}, common_stride=16, train_size=(64, 96), **given
    )
    assert windowed.aspp.pool_kernel_size == (4, 6)
    with pytest.raises(ValueError, match=r"\(60, 96\) has to be divisible by 16"):
        DeepLabV3Head({"res5": SHAPES["res5"]}, common_stride=16, train_size=(60, 96), **given)


def test_crops_of_no_fixed_size_are_refused() -> None:
    cfg = deeplab_cfg()
    cfg.INPUT.CROP.ENABLED = True
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res2", "res5"]
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.TYPE 'relative_range'.*use 'absolute'"):
        SEM_SEG_HEADS_REGISTRY.get("DeepLabV3PlusHead")(cfg, SHAPES)


def test_the_stem_has_three_convolutions() -> None:
    stem = DeepLabStem(3, 8)
    assert stem(torch.randn(1, 3, 32, 48)).shape == (1, 8, 8, 12)
    assert [stem.conv1.out_channels, stem.conv2.out_channels] == [4, 4]


@pytest.mark.parametrize(
    ("dilations", "strides"),
    [((1, 1), [4, 8, 16, 32]), ((1, 2), [4, 8, 16, 16]), ((2, 4), [4, 8, 8, 8])],
)
def test_dilation_takes_the_place_of_stride(dilations: tuple[int, int], strides: list[int]) -> None:
    cfg = deeplab_cfg()
    resnets = cfg.MODEL.RESNETS
    resnets.RES4_DILATION, resnets.RES5_DILATION = dilations
    with torch.device("meta"):
        backbone = build_resnet_deeplab_backbone(cfg, ShapeSpec(channels=3))
    assert [shape.stride for shape in backbone.output_shape().values()] == strides
    grid = [block.conv2.dilation[0] for block in backbone.res5]
    assert grid == [dilations[1] * factor for factor in (1, 2, 4)]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("DEPTH", 18, r"DEPTH 18 is not one of \[50, 101, 152\]"),
        ("STEM_TYPE", "wide", "STEM_TYPE 'wide' is not in"),
        ("RES4_DILATION", 2, r"2 and 4, got \(2, 1\)"),
        ("RES5_MULTI_GRID", [1, 2], r"wants 3 factors.*got \[1, 2\]"),
    ],
)
def test_options_that_do_not_fit_are_named(option: str, value: Any, message: str) -> None:
    cfg = deeplab_cfg()
    cfg.MODEL.RESNETS[option] = value
    with pytest.raises(ValueError, match=message):
        BACKBONE_REGISTRY.get("build_resnet_deeplab_backbone")(cfg, ShapeSpec(channels=3))


def test_images_have_as_many_channels_as_the_shape_says_or_three() -> None:
    with torch.device("meta"):
        for channels, wanted in ((6, 6), (None, 3)):
            backbone: Any = build_resnet_deeplab_backbone(
                deeplab_cfg(), ShapeSpec(channels=channels)
            )
            assert backbone.stem.conv1.in_channels == wanted


def test_the_stem_convolves_three_times_and_pools() -> None:
    stem = DeepLabStem(2, 8, "").double()
    x = torch.randn(1, 2, 13, 18, dtype=torch.float64)
    out = x
    for layer, stride in ((stem.conv1, 2), (stem.conv2, 1), (stem.conv3, 1)):
        out = F.conv2d(out, layer.weight, None, stride, 1).clamp(min=0)
    windows = F.pad(out, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
    torch.testing.assert_close(stem(x), windows.amax(dim=(4, 5)))
