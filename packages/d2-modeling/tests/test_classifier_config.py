"""What a network of another library is asked before it becomes a backbone, and configs of it."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.backbone import (
    BACKBONE_REGISTRY,
    ClassifierBackbone,
    TimmBackbone,
    TorchvisionBackbone,
    add_classifier_config,
    build_retinanet_timm_fpn_backbone,
    build_timm_backbone,
    build_timm_fpn_backbone,
    build_timm_simple_pyramid_backbone,
    build_torchvision_backbone,
)
from d2_modeling.backbone.network_probe import FeatureMap, NetworkProbe


class Returns(nn.Module):
    """Gives what a function makes of the map of a convolution of stride 4."""

    def __init__(self, function: Any, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 4, stride=4)
        self.unused = nn.Linear(2, 2)
        self.counts = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x))


def maps_of(function: Any, size: tuple[int, int] = (64, 96)) -> list[FeatureMap | None]:
    return NetworkProbe(Returns(function), (3, *size)).maps()


def test_the_axis_of_channels_is_told_by_the_size() -> None:
    found = maps_of(lambda x: [x, x.permute(0, 2, 3, 1), x[:, :, ::2, ::2]])
    assert found == [FeatureMap(4, 6, False), FeatureMap(4, 6, True), FeatureMap(8, 6, False)]


def test_what_is_no_map_is_none() -> None:
    found = maps_of(
        lambda x: [x.flatten(1), x.mean(), "text", None, x[:, :, :3], x.repeat(1, 1, 9, 9), x]
    )
    assert found == [None] * 6 + [FeatureMap(4, 6, False)]
    assert maps_of(lambda x: [x[:, :, :12, :18]]) == [None]  # between strides 4 and 8


def test_maps_that_lost_a_border_keep_their_stride() -> None:
    assert maps_of(lambda x: (x[:, :, 1:-1, 1:-2],)) == [FeatureMap(4, 6, False)]


def test_strides_may_count_in_pixels_of_another_image() -> None:
    probe = NetworkProbe(Returns(lambda x: [x]), (3, 56, 84), (64, 96))
    assert probe.maps() == [FeatureMap(4, 6, False)]
    probe = NetworkProbe(Returns(lambda x: [x]), (3, 32, 48), (64, 96))
    assert probe.maps() == [FeatureMap(8, 6, False)]


def test_parameters_are_found_that_outputs_depend_on() -> None:
    probe = NetworkProbe(Returns(lambda x: [x, x.detach()]), (3, 32, 32))
    assert probe.parameters_behind([0]) == ["conv.weight", "conv.bias"]
    assert probe.parameters_behind([1]) == []
    assert probe.parameters_behind([0, 1]) == ["conv.weight", "conv.bias"]


def test_a_network_without_parameters_depends_on_none() -> None:
    class Pools(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [nn.functional.avg_pool2d(x, 4)]

    probe = NetworkProbe(Pools(), (3, 32, 32))
    assert probe.maps() == [FeatureMap(4, 3, False)]
    assert probe.parameters_behind([0]) == []


def test_a_network_that_looks_at_values_is_asked_with_values() -> None:
    def look(x: Tensor) -> list[Tensor]:
        return [x] if float(x.sum()) < 1e9 else []

    probe = NetworkProbe(Returns(look), (3, 32, 32))
    assert probe.maps() == [FeatureMap(4, 6, False)]
    assert probe.parameters_behind([0]) == ["conv.weight", "conv.bias"]


def test_a_network_that_fails_is_named_with_its_error_and_left_as_it_was() -> None:
    def fail(x: Tensor) -> list[Tensor]:
        raise IndexError("no such place")

    net = Returns(fail).train()
    net.unused.eval()
    message = r"Returns does not take images of 32x48 pixels: no such place\. .*square_size"
    with pytest.raises(ValueError, match=message):
        NetworkProbe(net, (3, 32, 48))
    assert net.training
    assert not net.unused.training


def test_frozen_parameters_stay_frozen_and_have_no_gradient_after_the_dry_run() -> None:
    net = Returns(lambda x: [x])
    net.conv.bias.requires_grad_(False)  # type: ignore[union-attr]  # it has one
    NetworkProbe(net, (3, 32, 32)).parameters_behind([0])
    assert [p.requires_grad for p in net.conv.parameters()] == [True, False]
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("value", [{"a": 1}, None, 3])
def test_a_network_has_to_return_a_list(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(ValueError, match=f"Returns has to return a list of maps, got {kind}"):
        NetworkProbe(Returns(lambda x: value), (3, 32, 32))


# As a backbone


def test_of_several_maps_of_one_stride_the_last_is_taken() -> None:
    backbone = ClassifierBackbone(Returns(lambda x: [x, 2 * x])).eval()
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(backbone(x)["res2"], 2 * backbone.net.conv(x))  # type: ignore[operator,union-attr]  # of Returns


def test_no_map_of_strides_4_to_32_is_an_error_that_names_the_others() -> None:
    with pytest.raises(ValueError, match=r"out_features \[\]: the network has only \['res6'\]"):
        ClassifierBackbone(Returns(lambda x: [x[:, :, ::16, ::16]]))


def test_frozen_nothing_is_frozen_nowhere() -> None:
    backbone = ClassifierBackbone(Returns(lambda x: [x]), freeze_at=1).train()
    assert all(p.requires_grad for p in backbone.net.conv.parameters())  # type: ignore[union-attr]  # of Returns
    assert backbone.net.training


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_probed_with_as_many(channels: int) -> None:
    backbone = ClassifierBackbone(Returns(lambda x: [x], channels), in_chans=channels)
    assert backbone(torch.zeros(2, channels, 17, 30))["res2"].shape == (2, 6, 5, 8)
    with pytest.raises(ValueError, match="does not take images"):
        ClassifierBackbone(Returns(lambda x: [x], channels))


def test_divisibility_is_the_coarsest_wanted_stride() -> None:
    net = Returns(lambda x: [x, x[:, :, ::2, ::2], x[:, :, ::4, ::4]])
    assert ClassifierBackbone(net).size_divisibility == 16
    assert ClassifierBackbone(net, ["res3", "res2"]).size_divisibility == 8
    assert ClassifierBackbone(net, ["res3", "res2"]).padding_constraints == {}
    outputs = ClassifierBackbone(net, ["res3", "res2"])(torch.zeros(1, 3, 32, 32))
    assert list(outputs) == ["res3", "res2"]


@pytest.mark.parametrize(
    ("module", "kind"), [("timm", TimmBackbone), ("torchvision.models", TorchvisionBackbone)]
)
def test_without_its_library_the_extra_is_named(
    module: str, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    name = module.partition(".")[0]
    with pytest.raises(ImportError, match=rf"need it: pip install 'd2-modeling\[{name}\]'"):
        kind("resnet18")


def test_any_network_of_blocks_is_taken_as_torchvisions_are() -> None:
    """A model itself needs no library; its last blocks are the outputs."""

    class Block(nn.Module):
        def __init__(self, channels: int, stride: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=stride, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).relu()

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = Block(1, 4)
            self.layers = nn.Sequential(Block(2, 2), Block(4, 1), Block(8, 2))
            self.fc = nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.layers(self.stem(x)).mean(dim=(2, 3)))

    network = Network().eval()
    backbone = TorchvisionBackbone(network, freeze_at=3, use_act_checkpoint=True).train()
    shapes = {name: (s.stride, s.channels) for name, s in backbone.output_shape().items()}
    assert shapes == {"res2": (4, 2), "res3": (8, 8), "res4": (16, 16)}
    x = torch.randn(2, 1, 32, 48)
    outputs = backbone(x)
    assert torch.equal(outputs["res3"], network.layers[1](network.layers[0](network.stem(x))))
    outputs["res4"].sum().backward()
    trained = {n for n, p in backbone.named_parameters() if p.grad is not None}
    assert trained == {"net.layers.2.conv.weight", "net.layers.2.conv.bias"}
    assert not any("fc" in name for name in backbone.state_dict())


# Configs


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_classifier_config(cfg)
    return cfg


def test_options_have_documented_defaults(cfg: CfgNode) -> None:
    assert dict(cfg.MODEL.CLASSIFIER) == {
        "NAME": "resnet50",
        "PRETRAINED": False,
        "CHECKPOINT": "",
        "OUT_FEATURES": [],
        "FREEZE_NORMS": False,
        "USE_ACT_CHECKPOINT": False,
        "SQUARE_SIZE": 0,
    }


@pytest.mark.parametrize(
    "build", [build_torchvision_backbone, build_timm_backbone, build_timm_fpn_backbone]
)
def test_without_its_options_the_remedy_is_named(build: Any) -> None:
    with pytest.raises(
        KeyError, match=r"no MODEL\.CLASSIFIER: call .*add_classifier_config\(cfg\)"
    ):
        build(get_cfg(), ShapeSpec(channels=3))


def test_models_of_torchvision_take_three_channels(cfg: CfgNode) -> None:
    message = r"images of 3 channels, got 4: MODEL\.PIXEL_MEAN has so many .* timm take any number"
    with pytest.raises(ValueError, match=message):
        build_torchvision_backbone(cfg, ShapeSpec(channels=4))


@pytest.mark.parametrize("name", ["TimmBackbone", "TorchvisionBackbone"])
def test_every_option_reaches_the_backbone(
    cfg: CfgNode, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(
        f"d2_modeling.backbone.classifier_from_config.{name}",
        lambda model, **options: taken.update(options, model=model),
    )
    cfg.MODEL.BACKBONE.FREEZE_AT = 4
    cfg.MODEL.CLASSIFIER.update(
        NAME="some",
        PRETRAINED=True,
        CHECKPOINT="a.pth",
        OUT_FEATURES=["res3"],
        FREEZE_NORMS=True,
        USE_ACT_CHECKPOINT=True,
        SQUARE_SIZE=64,
    )
    builder = {"TimmBackbone": "build_timm_backbone"}.get(name, "build_torchvision_backbone")
    BACKBONE_REGISTRY.get(builder)(cfg, ShapeSpec(channels=3))
    wanted = {
        "model": "some",
        "pretrained": True,
        "checkpoint": "a.pth",
        "out_features": ["res3"],
        "freeze_at": 4,
        "freeze_norms": True,
        "use_act_checkpoint": True,
        "square_size": 64,
    }
    assert taken == wanted | ({"in_chans": 3} if name == "TimmBackbone" else {})


class Fake(ClassifierBackbone):
    """In the place of a model of timm, of strides 4 to 32 or of 16."""

    def __init__(self, name: str, **options: Any) -> None:
        levels = {"pyramid": [4, 8, 16, 32], "short": [4, 8, 16], "plain": [16]}[name]
        super().__init__(Returns(lambda x: [x[:, :, :: k // 4, :: k // 4] for k in levels]))


@pytest.mark.parametrize(
    ("build", "name", "outputs"),
    [
        (build_timm_fpn_backbone, "pyramid", ["p2", "p3", "p4", "p5", "p6"]),
        (build_retinanet_timm_fpn_backbone, "pyramid", ["p2", "p3", "p4", "p5", "p6", "p7"]),
        (build_timm_simple_pyramid_backbone, "plain", ["p2", "p3", "p4", "p5", "p6"]),
    ],
)
def test_pyramids_stand_on_any_model(
    cfg: CfgNode, build: Any, name: str, outputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2_modeling.backbone.classifier_from_config.TimmBackbone", Fake)
    cfg.MODEL.CLASSIFIER.NAME = name
    cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.FPN.OUT_CHANNELS = ["res2", "res3", "res4", "res5"], 5
    pyramid = build(cfg, ShapeSpec(channels=3))
    shapes = pyramid.output_shape()
    assert list(shapes) == outputs
    assert {shape.channels for shape in shapes.values()} == {5}
    for key, value in pyramid(torch.zeros(1, 3, 64, 128)).items():
        stride = shapes[key].stride
        assert value.shape == (1, 5, -(-64 // stride), -(-128 // stride))


def test_convolved_levels_need_the_map_of_stride_32(
    cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2_modeling.backbone.classifier_from_config.TimmBackbone", Fake)
    cfg.MODEL.CLASSIFIER.NAME = "short"
    with pytest.raises(ValueError, match=r"OUT_FEATURES are \['res2', .*need 'res5' in them"):
        build_retinanet_timm_fpn_backbone(cfg, ShapeSpec(channels=3))


@pytest.mark.parametrize(("norm", "kind"), [("", "ChannelLayerNorm"), ("GN", "GroupNorm")])
def test_a_simple_pyramid_has_norms_over_channels_unless_told_otherwise(
    cfg: CfgNode, norm: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2_modeling.backbone.classifier_from_config.TimmBackbone", Fake)
    cfg.MODEL.CLASSIFIER.NAME, cfg.MODEL.FPN.NORM = "plain", norm
    pyramid = build_timm_simple_pyramid_backbone(cfg, ShapeSpec(channels=3))
    norms = {type(m).__name__ for m in pyramid.modules() if "Norm" in type(m).__name__}
    assert norms == {kind}
