"""Every detector's ``backbone`` can be compiled in place."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec, build_model
from d2_modeling.backbone import Backbone
from d2_modeling.meta_arch import FCOS, FCOSHead

ARCHITECTURES = [
    "GeneralizedRCNN",
    "ProposalNetwork",
    "PanopticFPN",
    "SemanticSegmentor",
    "RetinaNet",
    "FCOS",
]


def tiny_cfg(architecture: str) -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = architecture, "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 2
    model.RESNETS.DEPTH, model.RESNETS.RES2_OUT_CHANNELS = 18, 64
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS = model.SEM_SEG_HEAD.CONVS_DIM = 8
    model.SEM_SEG_HEAD.NORM = ""
    model.RETINANET.IN_FEATURES = ["p3", "p4", "p5", "p6"]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    levels = model.RETINANET.IN_FEATURES if architecture == "RetinaNet" else model.RPN.IN_FEATURES
    model.ANCHOR_GENERATOR.SIZES = [[8 * 2**level] for level in range(len(levels))]
    model.ROI_HEADS.NAME, model.ROI_HEADS.IN_FEATURES = "StandardROIHeads", ["p2", "p3"]
    model.ROI_BOX_HEAD.update(NAME="FastRCNNConvFCHead", NUM_FC=1, FC_DIM=8, POOLER_RESOLUTION=7)
    model.ROI_MASK_HEAD.CONV_DIM = 8
    model.MASK_ON = architecture == "PanopticFPN"
    return cfg


def build(architecture: str) -> Any:
    torch.manual_seed(0)
    if architecture != "FCOS":
        return build_model(tiny_cfg(architecture))
    head = FCOSHead(input_shape=[ShapeSpec(channels=8)] * 2, num_classes=3, conv_dims=[8], norm="")
    return FCOS(
        backbone=build("RetinaNet").backbone,
        head=head,
        head_in_features=["p3", "p4"],
        num_classes=3,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )


@pytest.fixture(autouse=True)
def _nothing_compiled() -> None:
    """Torch counts the compilations of a piece of code for all models together."""
    torch.compiler.reset()


def compiled_beside_plain(backend: str, *, dynamic: bool | None = None) -> tuple[Any, Any]:
    """Two models of the same weights, the backbone of the first one compiled in one graph."""
    compiled = build("GeneralizedRCNN")
    plain = copy.deepcopy(compiled)
    compiled.backbone.compile(backend=backend, fullgraph=True, dynamic=dynamic)
    return compiled, plain


def gradients(backbone: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    backbone.zero_grad()
    sum(feature.square().mean() for feature in backbone(images).values()).backward()
    return {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_detector_has_a_backbone_and_names_it_so(architecture: str) -> None:
    model = build(architecture)
    assert isinstance(model.backbone, Backbone)
    assert any(name.startswith("backbone.") for name in model.state_dict())


def test_a_compiled_backbone_gives_the_same_features_in_every_size() -> None:
    compiled, plain = compiled_beside_plain("eager", dynamic=True)
    found, wanted = compiled.eval().backbone, plain.eval().backbone
    with torch.no_grad():
        for size in ((64, 96), (96, 64), (128, 128)):
            images = torch.randn(2, 3, *size)
            torch.testing.assert_close(found(images), wanted(images), atol=1e-4, rtol=1e-4)


def test_a_compiled_backbone_trains_the_same_parameters_alike() -> None:
    compiled, plain = compiled_beside_plain("aot_eager")
    images = torch.randn(2, 3, 64, 96)
    found = gradients(compiled.train().backbone, images)
    wanted = gradients(plain.train().backbone, images)
    assert found.keys() == wanted.keys()
    assert not any(name.startswith("bottom_up.stem") for name in found)  # frozen
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_detectors_run_their_compiled_backbone(architecture: str) -> None:
    model, graphs = build(architecture).eval(), []

    def keep(graph: Any, inputs: Any) -> Any:
        del inputs
        graphs.append(graph)
        return graph.forward

    entry = {"image": torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)}
    with torch.no_grad():
        wanted = model([entry])[0]
        model.backbone.compile(backend=keep, fullgraph=True)
        found = model([entry])[0]
    assert len(graphs) == 1
    assert found.keys() == wanted.keys()
    for name in found.keys() & {"instances", "proposals"}:
        assert len(found[name]) == len(wanted[name])
    if "sem_seg" in wanted:
        torch.testing.assert_close(found["sem_seg"], wanted["sem_seg"])


def test_compiling_changes_no_names_and_lets_models_be_copied() -> None:
    compiled, plain = compiled_beside_plain("eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    copied = copy.deepcopy(compiled)  # as for averaged weights
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(copied.eval().backbone(images), plain.eval().backbone(images))
