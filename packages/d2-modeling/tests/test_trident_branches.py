"""Branches of TridentNet: one set of weights, several views, one list of detections."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_config import CfgNode
from d2_modeling import BACKBONE_REGISTRY, ShapeSpec, build_model
from d2_modeling.layers import FrozenBatchNorm2d
from d2_modeling.trident_net import (
    TridentBottleneckBlock,
    TridentConv,
    TridentRPN,
    TridentStandardROIHeads,
    merge_branch_instances,
)
from d2_structures import Boxes, ImageList, Instances

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small_detectors import trident_cfg  # of this folder

DILATIONS = [1, 2, 3]


def block(**options: Any) -> TridentBottleneckBlock:
    torch.manual_seed(0)
    given = {
        "bottleneck_channels": 4,
        "branch_dilations": DILATIONS,
        "test_branch_idx": -1,
        "norm": "",
    }
    return TridentBottleneckBlock(6, 6, **{**given, **options})


def slowly(module: Any, x: Tensor, dilation: int) -> Tensor:
    """One branch of a block without norms and without a shortcut of its own."""
    y = F.conv2d(x, module.conv1.weight, module.conv1.bias, stride=module.conv1.stride).clamp(min=0)
    weight, groups = module.conv2.weight, module.conv2.groups
    y = F.conv2d(
        *(y, weight), stride=module.conv2.stride, padding=dilation, dilation=dilation, groups=groups
    ).clamp(min=0)
    y = F.conv2d(y, module.conv3.weight, module.conv3.bias)
    shortcut = x if module.shortcut is None else module.shortcut(x)
    return (y + shortcut).clamp(min=0)


@pytest.mark.parametrize("groups", [1, 2])
def test_each_branch_is_the_block_with_its_dilation(groups: int) -> None:
    module = block(num_groups=groups)
    x = torch.randn(2, 6, 9, 11)
    outputs = module(x)
    assert len(outputs) == 3
    for output, dilation in zip(outputs, DILATIONS, strict=True):
        torch.testing.assert_close(output, slowly(module, x, dilation))


@pytest.mark.parametrize("in_1x1", [True, False])
def test_strides_and_shortcuts_are_those_of_plain_blocks(in_1x1: bool) -> None:
    torch.manual_seed(0)
    module = TridentBottleneckBlock(
        *(6, 8),
        bottleneck_channels=4,
        stride=2,
        stride_in_1x1=in_1x1,
        norm="",
        branch_dilations=DILATIONS,
        test_branch_idx=-1,
        concat_output=True,
    )
    x = torch.randn(2, 6, 8, 10)
    wanted = torch.cat([slowly(module, x, dilation) for dilation in DILATIONS])
    assert wanted.shape == (6, 8, 4, 5)
    torch.testing.assert_close(module(x), wanted)


def test_gradients_of_the_branches_add_up_in_one_kernel() -> None:
    module = block()
    x = torch.randn(1, 6, 9, 9)
    names = [name for name, _ in module.named_parameters()]
    assert names == ["conv1.weight", "conv2.weight", "conv3.weight"]
    sum(output.square().sum() for output in module(x)).backward()
    together = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    apart = {name: torch.zeros_like(value) for name, value in together.items()}
    for index in range(3):
        module.zero_grad()
        module(x)[index].square().sum().backward()
        for name, p in module.named_parameters():
            assert p.grad is not None
            apart[name] += p.grad
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name])


def test_norms_and_biases_belong_to_the_shared_kernel() -> None:
    conv = TridentConv(2, 4, 3, branch_dilations=[1, 2], norm=nn.GroupNorm(2, 4))
    x = torch.randn(1, 2, 7, 7)
    plain = F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2)
    torch.testing.assert_close(conv.branch(x, 1), F.group_norm(plain, 2, eps=1e-5))


def test_inference_runs_the_branch_of_its_index_on_one_map() -> None:
    x = torch.randn(2, 6, 9, 9)
    for index, dilation in enumerate(DILATIONS):
        module = block(test_branch_idx=index, concat_output=True)
        assert module.train()(x).shape[0] == 6
        torch.testing.assert_close(module.eval()(x), slowly(module, x, dilation))


def small_cfg(**trident: Any) -> CfgNode:
    cfg: CfgNode = trident_cfg(**trident)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.TEST.DETECTIONS_PER_IMAGE = 15
    return cfg


def backbones(**trident: Any) -> tuple[Any, Any]:
    """The backbone of a config with and without branches, of the same weights."""
    cfg = small_cfg(**trident)
    shape = ShapeSpec(channels=3)
    torch.manual_seed(0)
    branched = BACKBONE_REGISTRY.get("build_trident_resnet_backbone")(cfg, shape)
    plain = BACKBONE_REGISTRY.get("build_resnet_backbone")(cfg, shape)
    plain.load_state_dict(branched.state_dict())
    return branched, plain


def test_weights_have_the_names_of_a_plain_network() -> None:
    branched, plain = backbones()
    assert branched.state_dict().keys() == plain.state_dict().keys()
    assert branched.output_shape() == plain.output_shape()


@torch.no_grad()
def test_branches_of_equal_dilation_are_the_plain_network_several_times() -> None:
    branched, plain = backbones(BRANCH_DILATIONS=[1, 1, 1])
    x = torch.randn(2, 3, 64, 64)
    wanted = plain(x)["res4"]
    torch.testing.assert_close(branched.train()(x)["res4"], wanted.repeat(3, 1, 1, 1))
    torch.testing.assert_close(branched.eval()(x)["res4"], wanted)


@torch.no_grad()
def test_the_branch_of_dilation_one_is_the_plain_network() -> None:
    branched, plain = backbones(TEST_BRANCH_IDX=0)
    x = torch.randn(2, 3, 64, 64)
    wanted = plain(x)["res4"]
    every = branched.train()(x)["res4"]
    torch.testing.assert_close(every[:2], wanted)
    assert not torch.allclose(every[2:4], wanted)
    torch.testing.assert_close(branched.eval()(x)["res4"], wanted)


def test_another_stage_may_have_the_branches() -> None:
    cfg = small_cfg(TRIDENT_STAGE="res3")
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3"]
    build = BACKBONE_REGISTRY.get("build_trident_resnet_backbone")
    backbone = build(cfg, ShapeSpec(channels=3))
    kinds = {
        stage: {type(block).__name__ for block in getattr(backbone, stage)}
        for stage in ("res2", "res3")
    }
    assert kinds == {"res2": {"BottleneckBlock"}, "res3": {"TridentBottleneckBlock"}}
    joined = [block.concat_output for block in backbone.res3]
    assert joined == [False] * 3 + [True]
    assert isinstance(backbone.res3[0].conv2.norm, FrozenBatchNorm2d)
    assert backbone(torch.randn(2, 3, 32, 32))["res3"].shape == (6, 16, 4, 4)


def entry(size: tuple[int, int] = (64, 64)) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(size[1])
    gt = Instances(
        size,
        gt_boxes=Boxes(torch.tensor([[4.0, 4, 40, 50], [10, 20, 60, 60]])),
        gt_classes=torch.tensor([2, 0]),
    )
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": gt}


@torch.no_grad()
def test_proposals_of_the_branches_stand_one_branch_after_the_other() -> None:
    model: Any = build_model(small_cfg(TEST_BRANCH_IDX=-1)).eval()
    rpn = model.proposal_generator
    assert isinstance(rpn, TridentRPN)
    images = model.preprocess_image([entry(), entry((48, 64))])
    maps = model.backbone(images.tensor)
    assert len(maps["res4"]) == 6
    proposals, _ = rpn(images, maps)
    assert [found.image_size for found in proposals] == [(64, 64), (48, 64)] * 3
    for branch in range(3):
        rows = slice(2 * branch, 2 * branch + 2)
        of_branch = _plain_forward(rpn, images, {"res4": maps["res4"][rows]})
        for one, other in zip(proposals[rows], of_branch, strict=True):
            assert torch.equal(one.proposal_boxes.tensor, other.proposal_boxes.tensor)


def _plain_forward(rpn: Any, images: ImageList, maps: dict[str, Tensor]) -> list[Instances]:
    """The proposals of an RPN that knows no branches."""
    rpn.num_branch, before = 1, rpn.num_branch
    proposals: list[Instances] = rpn(images, maps)[0]
    rpn.num_branch = before
    return proposals


def test_every_branch_is_trained_on_all_ground_truth() -> None:
    """With equal dilations the losses are those of one branch: means over all maps."""
    torch.manual_seed(0)
    model: Any = build_model(small_cfg(BRANCH_DILATIONS=[1, 1, 1])).train()
    assert model.proposal_generator.branches_run == model.roi_heads.branches_run == 3
    seen = []
    original = model.roi_heads.label_and_sample_proposals

    def record(proposals: Any, targets: Any) -> Any:
        seen.append((len(proposals), [gt.gt_classes.tolist() for gt in targets]))
        return original(proposals, targets)

    model.roi_heads.label_and_sample_proposals = record
    losses = model([entry(), entry((48, 64))])
    assert seen == [(6, [[2, 0]] * 6)]
    assert all(loss.isfinite() for loss in losses.values())
    assert model.eval().proposal_generator.branches_run == 1


@torch.no_grad()
def test_all_branches_of_equal_dilation_detect_what_one_does() -> None:
    torch.manual_seed(0)
    one = build_model(small_cfg(BRANCH_DILATIONS=[1, 1, 1])).eval()
    every = build_model(small_cfg(BRANCH_DILATIONS=[1, 1, 1], TEST_BRANCH_IDX=-1)).eval()
    every.load_state_dict(one.state_dict())
    batch = [entry(), entry((48, 64))]
    for single, merged in zip(one(batch), every(batch), strict=True):
        found, wanted = merged["instances"], single["instances"]
        assert len(wanted) > 0
        best = wanted.scores.max()
        torch.testing.assert_close(found.scores[0], best)
        assert (found.scores.diff() <= 0).all()
        assert len(found) <= 15


def detections(seed: int, count: int) -> Instances:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 20
    return Instances(
        (40, 40),
        pred_boxes=Boxes(torch.cat([low, low + 12], dim=1)),
        scores=torch.rand(count, generator=generator),
        pred_classes=torch.randint(0, 2, (count,), generator=generator),
        pred_masks=torch.rand(count, 1, 2, 2, generator=generator),
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([-1, 0, 4, 100]))
def test_merged_detections_are_suppressed_within_their_class_and_image(
    greedy_nms: Callable[[Any, Any, float], list[int]], seed: int, branches: int, topk: int
) -> None:
    counts = [(seed + index) % 6 for index in range(2 * branches)]
    found = [detections(seed + index, count) for index, count in enumerate(counts)]
    merged = merge_branch_instances(found, branches, 0.4, topk)
    assert len(merged) == 2
    if branches == 1:
        assert merged == found
        return
    for image in range(2):
        every = Instances.cat([found[image + 2 * branch] for branch in range(branches)])
        kept = []
        for label in range(2):
            rows = (every.pred_classes == label).nonzero().flatten()
            of_class = every[rows]
            chosen = greedy_nms(of_class.pred_boxes.tensor, of_class.scores, 0.4)
            kept += rows[torch.tensor(chosen, dtype=torch.int64)].tolist()
        kept.sort(key=lambda row: -float(every.scores[row]))
        wanted = every[torch.tensor(kept if topk < 0 else kept[:topk], dtype=torch.int64)]
        assert torch.equal(merged[image].scores, wanted.scores)
        assert torch.equal(merged[image].pred_masks, wanted.pred_masks)
        assert torch.equal(merged[image].pred_classes, wanted.pred_classes)


@torch.no_grad()
def test_heads_on_a_pyramid_may_have_branches_too() -> None:
    cfg = small_cfg()
    cfg.MODEL.ROI_HEADS.NAME = "TridentStandardROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 1, 16
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 3
    for index in (1, -1):
        cfg.MODEL.TRIDENT.TEST_BRANCH_IDX = index
        torch.manual_seed(0)
        model: Any = build_model(cfg)
        assert isinstance(model.roi_heads, TridentStandardROIHeads)
        assert model.roi_heads.trident_fast == (index == 1)
        losses = model.train()([entry()])
        assert sorted(losses) == ["loss_box_reg", "loss_cls", "loss_rpn_cls", "loss_rpn_loc"]
        (output,) = model.eval()([entry()])
        assert 0 < len(output["instances"]) <= 15


@torch.no_grad()
def test_tensors_of_one_branch_hold_what_instances_hold() -> None:
    torch.manual_seed(0)
    model: Any = build_model(small_cfg()).eval()
    images = torch.stack([entry()["image"], entry()["image"].flip(2)]).float()
    outputs = model.predict_tensors(images, torch.tensor([[64, 64], [64, 64]]))
    found = model([{"image": image} for image in images])
    for index, output in enumerate(found):
        low, high = outputs["boxes"].split(2, dim=1)
        rows = (outputs["batch_index"] == index) & (high > low).all(dim=1)
        assert int(rows.sum()) == len(output["instances"]) > 0
        torch.testing.assert_close(outputs["scores"][rows], output["instances"].scores)


def test_detections_of_several_branches_cannot_be_exported() -> None:
    """They are merged as instances, which a graph of tensors has not."""
    model: Any = build_model(small_cfg(TEST_BRANCH_IDX=-1)).eval()
    with pytest.raises(ValueError, match="TEST_BRANCH_IDX"):
        model.predict_tensors(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]]))
