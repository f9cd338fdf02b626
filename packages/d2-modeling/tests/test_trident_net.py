"""TridentNet apart from its reference model."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from d2_config import CfgNode, get_cfg
from d2_modeling import BACKBONE_REGISTRY, ShapeSpec, build_model
from d2_modeling.trident_net import (
    TridentBottleneckBlock,
    TridentConv,
    add_tridentnet_config,
    merge_branch_instances,
)
from d2_structures import Boxes, Instances


def block(**options: Any) -> TridentBottleneckBlock:
    torch.manual_seed(0)
    given = {"bottleneck_channels": 2, "branch_dilations": [1, 2], "test_branch_idx": 1}
    return TridentBottleneckBlock(4, 4, **{**given, **options})


def test_branches_share_their_kernel_and_differ_in_dilation() -> None:
    conv = TridentConv(2, 3, 3, bias=False, branch_dilations=[1, 3])
    x = torch.randn(1, 2, 9, 9)
    for index, dilation in enumerate((1, 3)):
        wanted = F.conv2d(x, conv.weight, padding=dilation, dilation=dilation)
        torch.testing.assert_close(conv.branch(x, index), wanted)


def test_training_runs_every_branch_and_inference_the_chosen_one() -> None:
    trident = block(norm="")
    x = torch.randn(2, 4, 8, 8)
    both = trident(x)
    assert len(both) == 2
    assert not torch.allclose(both[0], both[1])
    torch.testing.assert_close(trident(both)[0], trident([both[0], x])[0])
    (chosen,) = trident.eval()(x)
    torch.testing.assert_close(chosen, both[1])
    assert len(block(test_branch_idx=-1).eval()(x)) == 2
    joined = block(norm="", concat_output=True)(x)
    torch.testing.assert_close(joined, torch.cat(both))


def small_cfg(**trident: Any) -> CfgNode:
    cfg = get_cfg()
    add_tridentnet_config(cfg)
    cfg.MODEL.TRIDENT.update(trident)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_trident_resnet_backbone"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "TridentRPN"
    cfg.MODEL.ROI_HEADS.NAME = "TridentRes5ROIHeads"
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 2
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 20, 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 7
    return cfg


def entry() -> dict[str, Any]:
    boxes = torch.tensor([[4.0, 4, 40, 50]])
    gt = Instances((64, 64), gt_boxes=Boxes(boxes), gt_classes=torch.tensor([3]))
    return {"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "instances": gt}


@pytest.mark.parametrize("branch", [1, -1])
def test_a_configured_model_trains_and_detects(branch: int) -> None:
    model = build_model(small_cfg(TEST_BRANCH_IDX=branch))
    losses = model([entry(), entry()])
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.no_grad():
        results = model.eval()([entry(), entry()])
    assert len(results) == 2
    assert all(len(result["instances"]) <= 7 for result in results)


def test_detections_of_the_branches_become_one_without_duplicates() -> None:
    def found(box: list[float], score: float) -> Instances:
        return Instances(
            (64, 64),
            pred_boxes=Boxes(torch.tensor([box])),
            scores=torch.tensor([score]),
            pred_classes=torch.tensor([0]),
        )

    first, second = [0.0, 0, 10, 10], [30.0, 30, 40, 40]
    branches = [found(first, 0.5), found(second, 0.6), found(first, 0.9), found(first, 0.1)]
    one, other = merge_branch_instances(branches, 2, 0.5, -1)
    assert one.scores.tolist() == pytest.approx([0.9])
    assert other.scores.tolist() == pytest.approx([0.6, 0.1])
    assert len(merge_branch_instances(branches, 2, 0.5, 1)[1]) == 1
    assert merge_branch_instances(branches, 1, 0.5, 1) == branches


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"TRIDENT_STAGE": "res6"}, "TRIDENT_STAGE 'res6' is not in"),
        ({"NUM_BRANCH": 2}, "wants NUM_BRANCH = 2 values"),
        ({"TEST_BRANCH_IDX": 3}, "is -1 or a branch below 3, got 3"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BACKBONE_REGISTRY.get("build_trident_resnet_backbone")(
            small_cfg(**options), ShapeSpec(channels=3)
        )


def test_no_stage_is_deformable() -> None:
    cfg = small_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, True, False]
    with pytest.raises(ValueError, match="has no deformable blocks"):
        BACKBONE_REGISTRY.get("build_trident_resnet_backbone")(cfg, ShapeSpec(channels=3))
    cfg.MODEL.RESNETS.DEPTH = 34
    with pytest.raises(ValueError, match="DEPTH 34 is not one of"):
        BACKBONE_REGISTRY.get("build_trident_resnet_backbone")(cfg, ShapeSpec(channels=3))
