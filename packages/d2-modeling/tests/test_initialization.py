"""The same seed gives the weights of the original: layers are made first, and filled then."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling import FPN, ShapeSpec
from d2_modeling.backbone import BasicBlock, BottleneckBlock, DeformBottleneckBlock, ResNet
from d2_modeling.backbone.resnet import BasicStem
from d2_modeling.dense import RetinaNetHead
from d2_modeling.initialization import (
    msra_fill,
    normal_fill,
    truncated_normal_fill,
    xavier_fill,
)
from d2_modeling.roi_heads import (
    FastRCNNConvFCHead,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
)

Made = dict[str, nn.Module]
SHAPE = ShapeSpec(channels=4, height=6, width=6)


def he(module: nn.Module) -> None:
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]


def caffe2(module: nn.Module) -> None:
    nn.init.kaiming_uniform_(module.weight, a=1)  # type: ignore[arg-type]


def filled(made: Made, *fills: tuple[str, Callable[[nn.Module], None]]) -> Made:
    for name, fill in fills:
        fill(made[name])
    return made


def plain(*args: Any, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(*args, bias=False, **options)


def basic() -> Made:
    made: Made = {"shortcut": plain(4, 6, 1), "conv1": plain(4, 6, 3), "conv2": plain(6, 6, 3)}
    return filled(made, ("conv1", he), ("conv2", he), ("shortcut", he))


def bottleneck() -> Made:
    made: Made = {
        "shortcut": plain(4, 8, 1),
        "conv1": plain(4, 2, 1),
        "conv2": plain(2, 2, 3),
        "conv3": plain(2, 8, 1),
    }
    return filled(made, ("conv1", he), ("conv2", he), ("conv3", he), ("shortcut", he))


def box_head() -> Made:
    made: Made = {
        "conv1": nn.Conv2d(4, 5, 3),
        "conv2": nn.Conv2d(5, 6, 3),
        "fc1": nn.Linear(216, 7),
        "fc2": nn.Linear(7, 8),
    }
    return filled(made, ("conv1", he), ("conv2", he), ("fc1", caffe2), ("fc2", caffe2))


def mask_head() -> Made:
    made: Made = {
        "mask_fcn1": nn.Conv2d(4, 5, 3),
        "mask_fcn2": nn.Conv2d(5, 6, 3),
        "deconv": nn.ConvTranspose2d(6, 7, 2),
        "predictor": nn.Conv2d(7, 3, 1),
    }
    normal = lambda module: nn.init.normal_(module.weight, std=0.001)  # noqa: E731
    return filled(made, ("mask_fcn1", he), ("mask_fcn2", he), ("deconv", he), ("predictor", normal))


def keypoint_head() -> Made:
    made: Made = {
        "conv_fcn1": nn.Conv2d(4, 5, 3),
        "conv_fcn2": nn.Conv2d(5, 6, 3),
        "score_lowres": nn.ConvTranspose2d(6, 3, 4),
    }
    return filled(made, ("conv_fcn1", he), ("conv_fcn2", he), ("score_lowres", he))


def retinanet_head() -> Made:
    made: Made = {}
    for index in (0, 2):
        for tower in ("cls_subnet", "bbox_subnet"):
            made[f"{tower}.{index}"] = nn.Conv2d(4, 4, 3)
    made |= {"cls_score": nn.Conv2d(4, 6, 3), "bbox_pred": nn.Conv2d(4, 8, 3)}
    normal = lambda module: nn.init.normal_(module.weight, std=0.01)  # noqa: E731
    order = ["cls_subnet.0", "cls_subnet.2", "bbox_subnet.0", "bbox_subnet.2"]
    return filled(made, *((name, normal) for name in [*order, "cls_score", "bbox_pred"]))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Made]]] = {
    "basic": (lambda: BasicBlock(4, 6), basic),
    "bottleneck": (lambda: BottleneckBlock(4, 8, bottleneck_channels=2), bottleneck),
    "box": (lambda: FastRCNNConvFCHead(SHAPE, conv_dims=[5, 6], fc_dims=[7, 8]), box_head),
    "mask": (
        lambda: MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[5, 6, 7]),
        mask_head,
    ),
    "keypoint": (
        lambda: KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=3, conv_dims=[5, 6]),
        keypoint_head,
    ),
    "retinanet": (
        lambda: RetinaNetHead(input_shape=[SHAPE], num_classes=3, num_anchors=2, conv_dims=[4, 4]),
        retinanet_head,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_are_made_and_then_filled(case: str) -> None:
    build, by_hand = CASES[case]
    torch.manual_seed(3)
    module = build()
    torch.manual_seed(3)
    for name, wanted in by_hand().items():
        got = module.get_submodule(name)
        assert torch.equal(got.weight, wanted.weight), name  # type: ignore[arg-type]


def test_a_pyramid_fills_each_level_when_it_is_made() -> None:
    def bottom_up() -> ResNet:
        stages = ResNet.make_default_stages(18, norm="")[:2]
        return ResNet(BasicStem(norm=""), stages, out_features=["res2", "res3"])

    torch.manual_seed(3)
    pyramid = FPN(bottom_up(), ["res2", "res3"], 5)
    torch.manual_seed(3)
    bottom_up()
    for level, channels in ((2, 64), (3, 128)):
        lateral, output = nn.Conv2d(channels, 5, 1), nn.Conv2d(5, 5, 3)
        caffe2(lateral)
        caffe2(output)
        for name, wanted in (("lateral", lateral), ("output", output)):
            got = pyramid.get_submodule(f"fpn_{name}{level}").weight
            assert torch.equal(got, wanted.weight)  # type: ignore[arg-type]


def test_deformable_convolutions_start_like_plain_ones() -> None:
    torch.manual_seed(0)
    block = DeformBottleneckBlock(4, 512, bottleneck_channels=256)
    assert block.conv2.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)


def test_fills_take_several_modules_and_pass_over_none() -> None:
    layers = [nn.Linear(200, 300), nn.Linear(300, 100)]
    msra_fill(layers[0], None, layers[1])
    assert layers[1].weight.std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.05)
    xavier_fill(*layers)
    assert layers[0].weight.abs().max().item() == pytest.approx((3 / 200) ** 0.5, rel=0.01)
    normal_fill(*layers, std=0.5)
    assert layers[0].weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert not any(layer.bias.any() for layer in layers)


# What each fill draws


def fans(layer: nn.Module) -> tuple[int, int]:
    """Fan-in and fan-out as torch counts them: a channel's weights times the size of the kernel."""
    weight: Any = layer.weight
    size = weight[0, 0].numel()
    return weight.shape[1] * size, weight.shape[0] * size


LAYERS = {
    "linear": lambda: nn.Linear(300, 500),
    "convolution": lambda: nn.Conv2d(64, 128, 3),
    "groups": lambda: nn.Conv2d(128, 256, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(128, 64, 2),
    "sequence": lambda: nn.Conv1d(64, 128, 5),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)


@each_layer
def test_he_weights_are_normal_with_the_variance_of_the_fan_out(kind: str) -> None:
    torch.manual_seed(0)
    layer: Any = LAYERS[kind]()
    msra_fill(layer)
    std = (2 / fans(layer)[1]) ** 0.5
    weights = layer.weight.detach().flatten() / std
    assert weights.std().item() == pytest.approx(1.0, abs=0.02)
    assert weights.mean().item() == pytest.approx(0.0, abs=0.02)
    beyond = (weights.abs() > 2).double().mean().item()
    assert beyond == pytest.approx(0.0455, abs=0.006)  # of a normal distribution
    assert not layer.bias.any()


@each_layer
def test_weights_of_caffe2_are_uniform_with_the_variance_of_the_fan_in(kind: str) -> None:
    torch.manual_seed(0)
    layer: Any = LAYERS[kind]()
    xavier_fill(layer)
    bound = (3 / fans(layer)[0]) ** 0.5
    weights = layer.weight.detach().flatten() / bound
    assert weights.abs().max().item() <= 1.0 + 1e-6
    quarters = torch.histc(weights, bins=4, min=-1, max=1) / weights.numel()
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.01, rtol=0)
    assert not layer.bias.any()


@pytest.mark.parametrize("std", [0.001, 0.01, 1.0])
def test_normal_weights_have_the_deviation_asked_for(std: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3)
    normal_fill(layer, std=std)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
    assert layer.bias is not None
    assert not layer.bias.any()


def test_linear_layers_of_a_model_are_filled_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 1),
        nn.Sequential(nn.Linear(300, 200), nn.LayerNorm(200)),
        nn.Linear(200, 100, bias=False),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    truncated_normal_fill(model)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"1.0.weight", "1.0.bias", "2.weight"}
    for name in ("1.0.weight", "2.weight"):
        assert model.state_dict()[name].std().item() == pytest.approx(0.02, rel=0.03)
    assert not model.state_dict()["1.0.bias"].any()


def test_a_layer_without_bias_is_filled_like_any_other() -> None:
    layer = nn.Conv2d(2, 3, 1, bias=False)
    for fill in (msra_fill, xavier_fill, lambda module: normal_fill(module, std=0.1)):
        nn.init.zeros_(layer.weight)
        fill(layer)
        assert layer.weight.all()
    msra_fill(None)
    msra_fill()
