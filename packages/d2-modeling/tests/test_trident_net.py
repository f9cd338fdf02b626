"""TridentNet apart from its reference model."""

import pathlib
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import CfgNode
from d2_modeling import BACKBONE_REGISTRY, ShapeSpec, build_model
from d2_modeling.trident_net import (
    TridentBottleneckBlock,
    TridentConv,
    merge_branch_instances,
)
from d2_structures import Boxes, Instances

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small_detectors import trident_cfg  # of this folder


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
    cfg: CfgNode = trident_cfg(**trident)
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


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=2),
    st.integers(0, 10**6),
    st.integers(2, 3),
    st.sampled_from([-1, 0, 3]),
)
def test_branches_are_joined_class_by_class_in_each_image(
    greedy_nms: Any, counts: list[int], seed: int, num_branch: int, limit: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    branches = []
    for count in counts * num_branch:
        low = torch.rand(count, 2, generator=generator) * 20
        sides = torch.rand(count, 2, generator=generator) * 20
        branches.append(
            Instances(
                (64, 64),
                pred_boxes=Boxes(torch.cat([low, low + sides + 1], dim=1)),
                scores=torch.rand(count, generator=generator),
                pred_classes=torch.randint(2, (count,), generator=generator),
            )
        )
    merged = merge_branch_instances(branches, num_branch, 0.3, limit)
    assert len(merged) == 2
    for image, found in enumerate(merged):
        joined = Instances.cat(branches[image::2])
        kept = []
        for kind in range(2):
            rows = (joined.pred_classes == kind).nonzero()[:, 0]
            boxes, scores = joined.pred_boxes.tensor[rows], joined.scores[rows]
            kept += rows[greedy_nms(boxes, scores, 0.3)].tolist()
        kept.sort(key=lambda row: -joined.scores[row].item())
        wanted = joined[torch.tensor(kept if limit < 0 else kept[:limit], dtype=torch.int64)]
        assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)
        assert torch.equal(found.scores, wanted.scores)
        assert torch.equal(found.pred_classes, wanted.pred_classes)


def test_no_detections_of_no_image_are_joined() -> None:
    assert merge_branch_instances([], 3, 0.5, 10) == []


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
