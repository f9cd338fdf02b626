"""Classification models of torchvision as backbones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_config import get_cfg
from d2_modeling import build_backbone
from d2_modeling.backbone import TorchvisionBackbone, add_classifier_config

pytest.importorskip("torchvision", reason="torchvision is not installed: an extra")
from torchvision import models

ONE_OF_EACH_FAMILY = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d"),
    *("shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11"),
]


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_every_family_gives_maps_of_the_shape_it_promises(name: str) -> None:
    backbone = TorchvisionBackbone(name).eval()
    with torch.no_grad():
        outputs = backbone(torch.zeros(1, 3, 64, 96))
    shapes = backbone.output_shape()
    assert list(outputs) == list(shapes)
    assert {"res2", "res3", "res4"} <= set(shapes)
    for key, value in outputs.items():
        stride = shapes[key].stride
        assert stride == 2 ** int(key[3:])
        assert value.shape == (1, shapes[key].channels, 64 // stride, 96 // stride)


def test_maps_of_a_resnet_are_those_of_its_layers() -> None:
    network = models.resnet18().eval()
    x = torch.randn(1, 3, 64, 64)
    backbone = TorchvisionBackbone(network).eval()
    taken: dict[str, Tensor] = {}
    for index in range(1, 5):
        layer = network.get_submodule(f"layer{index}")
        layer.register_forward_hook(lambda _m, _i, out, k=f"res{index + 1}": taken.update({k: out}))
    with torch.no_grad():
        network(x)
        outputs = backbone(x)
    assert list(outputs) == list(taken)
    assert all(torch.equal(outputs[key], value) for key, value in taken.items())


def test_a_transformer_of_the_size_it_was_made_for_agrees_with_torchvision() -> None:
    options: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    network = models.VisionTransformer(image_size=64, patch_size=16, **options).eval()
    nn.init.normal_(network.class_token)
    x = torch.randn(2, 3, 64, 64)
    backbone = TorchvisionBackbone(network).eval()
    tokens: list[Tensor] = []
    network.encoder.register_forward_hook(lambda _m, _i, out: tokens.append(out))
    with torch.no_grad():
        network(x)
        value = backbone(x)["res4"]
    torch.testing.assert_close(value.flatten(2).mT, tokens[0][:, 1:])
    assert backbone(torch.randn(1, 3, 32, 96))["res4"].shape == (1, 32, 2, 6)


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "vit"])
def test_recomputed_blocks_give_the_same_gradients(name: str) -> None:
    def network() -> Any:
        torch.manual_seed(0)
        if name == "vit":
            return models.VisionTransformer(32, 16, 2, 2, 16, 32)
        return name

    x = torch.randn(2, 3, 64, 64)
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        backbone = TorchvisionBackbone(network(), use_act_checkpoint=recompute)
        torch.manual_seed(1)
        sum(value.square().mean() for value in backbone(x).values()).backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value)


def test_only_what_the_outputs_need_is_kept() -> None:
    names = {
        name
        for name, _ in TorchvisionBackbone("resnet18", out_features=["res3"]).named_parameters()
    }
    assert "net.layer2.1.conv2.weight" in names
    assert not any("layer3" in name or "fc" in name for name in names)


def test_freeze_at_freezes_stages_as_in_a_resnet() -> None:
    backbone = TorchvisionBackbone("resnet18", out_features=["res4"], freeze_at=2)
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    backbone.train()
    assert not backbone.net.get_submodule("bn1").training
    assert backbone.net.get_submodule("layer2").training


def test_a_file_of_weights_is_loaded_and_its_classifier_left_out(tmp_path: Path) -> None:
    network = models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    backbone = TorchvisionBackbone("resnet18", checkpoint=str(tmp_path / "resnet18.pth"))
    value = backbone.state_dict()["net.layer3.0.conv1.weight"]
    assert torch.equal(value, network.state_dict()["layer3.0.conv1.weight"])


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save(models.mobilenet_v2().state_dict(), tmp_path / "mobilenet.pth")
    with pytest.raises(ValueError, match=r"mobilenet.pth' does not fit the backbone"):
        TorchvisionBackbone("resnet18", checkpoint=str(tmp_path / "mobilenet.pth"))


def test_a_model_of_one_size_takes_square_images() -> None:
    with pytest.raises(ValueError, match=r"MaxVit does not take images of 512x640.*square_size"):
        TorchvisionBackbone(small_maxvit())
    backbone = TorchvisionBackbone(small_maxvit(), square_size=64)
    assert backbone.padding_constraints == {"square_size": 64}
    for name, value in backbone.eval()(torch.zeros(1, 3, 64, 64)).items():
        stride = backbone.output_shape()[name].stride
        assert stride is not None
        assert value.shape[2:] == (64 // stride, 64 // stride)


def small_maxvit() -> models.MaxVit:
    return models.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 8, 0.0, num_classes=3)


def test_options_reach_the_model() -> None:
    options = {"norm_layer": nn.InstanceNorm2d}
    backbone = TorchvisionBackbone("resnet18", out_features=["res2"], model_options=options)
    norms = {type(m) for m in backbone.modules() if "Norm" in type(m).__name__}
    assert norms == {nn.InstanceNorm2d}


def test_a_model_of_other_images_is_asked_for_its_channels() -> None:
    network = models.resnet18()
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    backbone = TorchvisionBackbone(network, out_features=["res2"]).eval()
    assert backbone(torch.zeros(1, 1, 32, 48))["res2"].shape == (1, 64, 8, 12)


def test_frozen_norms_keep_their_statistics_while_the_rest_is_trained() -> None:
    backbone = TorchvisionBackbone("resnet18", out_features=["res2"], freeze_norms=True).train()
    before = {n: v.clone() for n, v in backbone.state_dict().items() if "running" in n}
    backbone(torch.randn(2, 3, 32, 32))["res2"].sum().backward()
    after = backbone.state_dict()
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())
    trained = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert trained
    assert not any("bn" in name for name in trained)


def test_a_frozen_transformer_is_frozen_as_a_whole() -> None:
    network = models.VisionTransformer(32, 16, 2, 2, 16, 32)
    backbone = TorchvisionBackbone(network, freeze_at=4).train()
    used = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert used <= {"net.class_token"}
    assert not backbone.net.get_submodule("encoder.layers").training


def test_an_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="no classification model 'resnet81'; did you mean"):
        TorchvisionBackbone("resnet81")


@pytest.mark.parametrize(
    ("name", "builder", "outputs"),
    [
        ("resnet18", "build_torchvision_backbone", ["res2", "res3", "res4", "res5"]),
        ("convnext_tiny", "build_torchvision_fpn_backbone", ["p2", "p3", "p4", "p5", "p6"]),
        (
            *("shufflenet_v2_x0_5", "build_retinanet_torchvision_fpn_backbone"),
            ["p3", "p4", "p5", "p6", "p7"],
        ),
    ],
)
def test_configs_build_it(name: str, builder: str, outputs: list[str]) -> None:
    cfg = get_cfg()
    add_classifier_config(cfg)
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.CLASSIFIER.NAME = name
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    if "p2" in outputs:
        cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    backbone = build_backbone(cfg)
    assert list(backbone.output_shape()) == outputs
    with torch.no_grad():
        assert list(backbone.eval()(torch.zeros(1, 3, 64, 64))) == outputs
