"""Weights of any known origin find their places in a model."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2_config import get_cfg
from d2_modeling import build_model
from d2_modeling.backbone import FPN, BasicStem, ClassifierBackbone, ResNet, ViT
from d2_modeling.weights import convert_caffe2_detector, is_caffe2_detector, match_checkpoint


@pytest.fixture(scope="module")
def mask_rcnn() -> dict[str, Tensor]:
    """Names and shapes of a Mask R-CNN with a pyramid and 3 classes, and of its keypoint head."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "meta"
    model = cfg.MODEL
    model.BACKBONE.NAME = "build_resnet_fpn_backbone"
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.ROI_HEADS.NUM_CLASSES = 3
    model.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    model.ROI_BOX_HEAD.NUM_FC = 2
    model.MASK_ON = model.KEYPOINT_ON = True
    return build_model(cfg).state_dict()


LAST = {"2": 2, "3": 3, "4": 5, "5": 2}
"""The last block of each stage of a ResNet-50, after which Detectron names its pyramid."""
BRANCHES = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}


def detectron_name(name: str) -> str | None:
    """What Detectron calls a weight of ours, without the code under test; None for statistics."""
    if "running" in name or name.endswith("tracked"):
        return None
    module, leaf = name.rsplit(".", 1)
    end = {"weight": "w", "bias": "b"}[leaf]
    if module.endswith(".norm"):
        module, end = module.removesuffix(".norm"), {"w": "bn_s", "b": "bn_b"}[end]
    if module.startswith("backbone.bottom_up."):
        if "stem" in module:
            return f"conv1_{end}" if end == "w" else f"res_conv1_{end}"
        _, _, stage, block, layer = module.split(".")
        return f"{stage}_{block}_{BRANCHES[layer]}_{end}"
    last = module.split(".")[-1]
    if "fpn_" in last:
        stage = last[-1]
        inner = "inner_" if "lateral" in last else ""
        lateral = "_lateral" if inner and stage != "5" else ""
        return f"fpn_{inner}res{stage}_{LAST[stage]}_sum{lateral}_{end}"
    theirs = {
        "rpn_head.conv": "conv_rpn_fpn2",
        "rpn_head.objectness_logits": "rpn_cls_logits_fpn2",
        "rpn_head.anchor_deltas": "rpn_bbox_pred_fpn2",
        "box_head.fc1": "fc6",
        "box_head.fc2": "fc7",
        "box_predictor.cls_score": "cls_score",
        "box_predictor.bbox_pred": "bbox_pred",
        "mask_head.deconv": "conv5_mask",
        "mask_head.predictor": "mask_fcn_logits",
        "keypoint_head.score_lowres": "kps_score_lowres",
    }
    short = ".".join(module.split(".")[-2:])
    if short in theirs:
        return f"{theirs[short]}_{end}"
    return f"{'_[mask]_fcn' if 'mask_fcn' in last else 'conv_fcn'}{last[-1]}_{end}"


def test_a_detector_of_detectron_finds_every_weight(mask_rcnn: dict[str, Tensor]) -> None:
    theirs: dict[str, Any] = {}
    for name, value in mask_rcnn.items():
        rows = {"cls_score": 0, "bbox_pred": 4, "mask_head.predictor": 1}
        more = next((count for part, count in rows.items() if part in name), 0)
        shape = (value.shape[0] + more, *value.shape[1:])
        if (blob := detectron_name(name)) is not None:
            theirs[blob] = np.zeros(shape, np.float32)
            theirs[f"{blob}_momentum"] = np.zeros(1, np.float32)
    assert is_caffe2_detector(theirs)
    match = match_checkpoint(mask_rcnn, {**theirs, "weight_order": "abc"})
    assert match.complete, match.report()


def test_retinanet_of_detectron_finds_every_weight_of_its_head() -> None:
    convolutions = {
        f"retnet_{kind}_conv_n{n}_fpn3": (kind, 2 * n) for kind in ("cls", "bbox") for n in range(4)
    }
    blobs = [*convolutions, "retnet_cls_pred_fpn3", "retnet_bbox_pred_fpn3", "fpn_6", "fpn_7"]
    found = convert_caffe2_detector(
        {f"{blob}_{leaf}": np.zeros(1) for blob in blobs for leaf in "wb"}
    )
    expected = {f"head.{kind}_subnet.{n}" for kind, n in convolutions.values()}
    expected |= {"head.cls_score", "head.bbox_pred", "top_block.p6", "top_block.p7"}
    assert {name.rsplit(".", 1)[0] for name in found} == expected


def test_background_is_the_last_class_and_has_no_box_and_no_mask() -> None:
    found = convert_caffe2_detector(
        {
            "cls_score_b": np.array([0, 1, 2, 3]),
            "bbox_pred_b": np.arange(16),
            "mask_fcn_logits_b": np.array([0, 1, 2, 3]),
            "mask_fcn_logits_w": np.zeros((1, 4, 1, 1)),
        }
    )
    assert found["box_predictor.cls_score.bias"].tolist() == [1, 2, 3, 0]
    assert found["box_predictor.bbox_pred.bias"].tolist() == list(range(4, 16))
    assert found["mask_head.predictor.bias"].tolist() == [1, 2, 3]
    assert len(found["mask_head.predictor.weight"]) == 1  # of all classes together


def resnet(norm: str, depth: int = 18) -> dict[str, Tensor]:
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth, norm=norm)
        names = ["res2", "res3", "res4", "res5"]
        return FPN(ResNet(BasicStem(norm=norm), stages, out_features=names), names, 8).state_dict()


def without_statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "bottom_up."
    return {
        name.removeprefix(prefix): torch.zeros(value.shape)
        for name, value in state.items()
        if name.startswith(prefix) and "running" not in name and "tracked" not in name
    }


def test_statistics_that_a_file_has_in_scale_and_shift_are_not_missed() -> None:
    state = resnet("FrozenBN")
    match = match_checkpoint(state, without_statistics(state), by_suffix=True)
    assert match.missing
    assert all("fpn_" in name for name in match.missing)


def test_statistics_of_norms_that_are_trained_are_missed() -> None:
    state = resnet("BN")
    match = match_checkpoint(state, without_statistics(state), by_suffix=True)
    assert "bottom_up.res2.0.conv1.norm.running_mean" in match.missing


def test_a_deeper_network_lends_the_blocks_that_there_are() -> None:
    deep = {name: torch.zeros(value.shape) for name, value in resnet("", 101).items()}
    match = match_checkpoint(resnet("", 50), deep)
    assert not match.missing
    assert all("res4" in name for name in match.unexpected)


def test_an_encoder_leaves_its_decoder_behind() -> None:
    with torch.device("meta"):
        options: dict[str, Any] = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}
        vit = ViT(**options, patch_size=16, pretrain_img_size=32)
        state = nn.ModuleDict({"backbone": nn.ModuleDict({"net": vit})}).state_dict()
    pretrained = {name: torch.zeros(value.shape) for name, value in vit.state_dict().items()}
    pretrained |= {f"decoder_blocks.{k}.norm1.weight": torch.zeros(8) for k in range(12)}
    match = match_checkpoint(state, pretrained)
    assert not match.missing
    assert len(match.unexpected) == 12


class Sequence(nn.Module):
    """A network as timm's features have it: members of sequences are members of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem_0 = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.stages_0 = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.stages_0(self.stem_0(x))]


def test_weights_of_a_whole_model_of_timm_find_their_backbone() -> None:
    model = nn.ModuleDict({"backbone": ClassifierBackbone(Sequence())})
    whole = {
        **{f"stem.0.{leaf}": getattr(Sequence().stem_0, leaf) for leaf in ("weight", "bias")},
        **{
            f"stages.0.0.{leaf}": getattr(Sequence().stages_0[0], leaf)
            for leaf in ("weight", "bias")
        },
        "head.fc.weight": torch.zeros(5, 8),
    }
    match = match_checkpoint(model.state_dict(), whole)
    assert not match.missing
    assert len(match.unexpected) == 1


def test_a_network_with_few_names_in_common_is_not_taken_for_a_part() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}).state_dict()
    other = {f"layer{k}.weight": torch.zeros(2, 2) for k in range(5)} | {
        "weight": torch.zeros(2, 2)
    }
    assert match_checkpoint(model, other).state_dict == {}


def test_the_report_is_a_table_of_what_fits_and_what_does_not() -> None:
    model = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2), "b.weight": torch.zeros(2, 3)}
    checkpoint = {"a.weight": torch.zeros(2), "b.weight": torch.zeros(4, 3), "c": torch.zeros(1)}
    lines = match_checkpoint(model, checkpoint).report().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["weights", "model", "checkpoint", "what is done"]
    assert cells[2] == ["1 that fit", "", "", "taken from the checkpoint"]
    assert cells[3] == ["b.weight", "(2, 3)", "(4, 3)", "shapes differ: not loaded"]
    assert cells[4] == ["a.bias", "there", "", "not in the checkpoint (kept as initialised)"]
    assert cells[5] == ["c", "", "there", "not in the model (not used)"]
