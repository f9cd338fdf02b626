"""Models of timm as backbones."""

from pathlib import Path
from typing import Any

import pytest
import torch

from d2_config import get_cfg
from d2_modeling import build_backbone
from d2_modeling.backbone import SimpleFeaturePyramid, TimmBackbone, add_classifier_config

pytest.importorskip("timm", reason="timm is not installed: an extra")
import timm

DINO = {"embed_dim": 32, "depth": 3, "num_heads": 2}
"""Options that make a DINOv2 of few parameters."""


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("convnext_atto", [4, 8, 16, 32]),
        ("resnet10t", [4, 8, 16, 32]),
        ("test_efficientnet", [4, 8, 16, 32]),
        ("swin_tiny_patch4_window7_224", [4, 8, 16, 32]),
        ("test_vit", [16]),
        ("xcit_nano_12_p8_224", [8]),
    ],
)
def test_maps_have_the_shape_they_promise(name: str, strides: list[int]) -> None:
    backbone = TimmBackbone(name).eval()
    with torch.no_grad():
        outputs = backbone(torch.zeros(1, 3, 64, 96))
    shapes = backbone.output_shape()
    assert [shape.stride for shape in shapes.values()] == strides
    for key, value in outputs.items():
        stride = shapes[key].stride
        assert stride is not None
        assert value.shape == (1, shapes[key].channels, 64 // stride, 96 // stride)


def test_maps_are_those_of_timm() -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone("convnext_atto", out_features=["res3", "res5"]).eval()
    network = timm.create_model("convnext_atto", features_only=True).eval()
    network.load_state_dict(backbone.net.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        outputs, maps = backbone(x), network(x)
    assert torch.equal(outputs["res3"], maps[1])
    assert torch.equal(outputs["res5"], maps[3])


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_dinov2_carries_a_pyramid_of_strides_that_are_powers_of_two(name: str) -> None:
    backbone = TimmBackbone(name, model_options=DINO)
    pyramid = SimpleFeaturePyramid(backbone, "res4", 8, (4.0, 2.0, 1.0, 0.5)).eval()
    with torch.no_grad():
        outputs = pyramid(torch.zeros(1, 3, 64, 96))
    assert {k: tuple(v.shape[2:]) for k, v in outputs.items()} == {
        "p2": (16, 24),
        "p3": (8, 12),
        "p4": (4, 6),
        "p5": (2, 3),
    }


def test_a_frozen_dinov2_has_nothing_to_train() -> None:
    backbone = TimmBackbone("vit_small_patch14_dinov2", freeze_at=4, model_options=DINO).train()
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(module.training for module in backbone.net.model.blocks.modules())


def test_freeze_at_freezes_the_first_stages() -> None:
    backbone = TimmBackbone("convnext_atto", out_features=["res5"], freeze_at=2)
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"stem_0", "stem_1", "stages_0"}


@pytest.mark.parametrize("name", ["convnext_atto", "test_vit"])
def test_recomputed_blocks_give_the_same_gradients(name: str) -> None:
    x = torch.randn(1, 3, 64, 64)
    gradients: list[dict[str, Any]] = []
    for recompute in (False, True):
        torch.manual_seed(0)
        backbone = TimmBackbone(name, use_act_checkpoint=recompute)
        sum(value.square().mean() for value in backbone(x).values()).backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value)


def test_weights_of_the_whole_model_are_loaded_from_a_file(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", num_classes=5)
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    backbone = TimmBackbone("test_vit", checkpoint=str(tmp_path / "vit.pth"))
    value = backbone.state_dict()["net.model.blocks.1.mlp.fc1.weight"]
    assert torch.equal(value, network.state_dict()["blocks.1.mlp.fc1.weight"])


def test_a_model_of_one_size_takes_square_images() -> None:
    backbone = TimmBackbone("levit_128s", square_size=64)
    assert backbone.padding_constraints == {"square_size": 64}
    assert list(backbone.output_shape()) == ["res4", "res5"]


def test_a_model_that_cannot_recompute_is_named() -> None:
    with pytest.raises(ValueError, match="'hrnet_w18_small' cannot recompute its blocks"):
        TimmBackbone("hrnet_w18_small", out_features=["res2"], use_act_checkpoint=True)


def test_an_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="timm has no model 'convnext_ato'; did you mean"):
        TimmBackbone("convnext_ato")


def test_images_of_four_channels_are_taken() -> None:
    backbone = TimmBackbone("resnet10t", in_chans=4, out_features=["res2"])
    assert backbone(torch.zeros(1, 4, 32, 32))["res2"].shape[2:] == (8, 8)


@pytest.mark.parametrize(
    ("name", "builder", "outputs"),
    [
        ("convnext_atto", "build_timm_backbone", ["res2", "res3", "res4", "res5"]),
        ("convnext_atto", "build_timm_fpn_backbone", ["p2", "p3", "p4", "p5", "p6"]),
        (
            "convnext_atto",
            "build_retinanet_timm_fpn_backbone",
            ["p2", "p3", "p4", "p5", "p6", "p7"],
        ),
        ("test_vit", "build_timm_simple_pyramid_backbone", ["p2", "p3", "p4", "p5", "p6"]),
    ],
)
def test_configs_build_it(name: str, builder: str, outputs: list[str]) -> None:
    cfg = get_cfg()
    add_classifier_config(cfg)
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.CLASSIFIER.NAME = name
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    backbone = build_backbone(cfg)
    assert list(backbone.output_shape()) == outputs
    with torch.no_grad():
        assert list(backbone.eval()(torch.zeros(1, 3, 64, 64))) == outputs
