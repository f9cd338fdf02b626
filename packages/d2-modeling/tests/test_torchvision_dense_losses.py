"""Labels and losses of dense detectors beside those of torchvision, from the same predictions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.anchor_generator import DefaultAnchorGenerator
from d2_structures import Boxes, Instances

pytest.importorskip("torchvision", reason="torchvision is not installed: an extra")
from torchvision.models.detection import FCOS as TheirFCOS
from torchvision.models.detection import RetinaNet as TheirRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

K = 3
SIDES = (8, 4)
SIZE = (32, 32)
Build = Callable[..., Any]


class Nothing(nn.Module):
    """A backbone that is only asked for its width."""

    out_channels = 32


def objects(seed: int, count: int = 4) -> Instances:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 16
    size = 5 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20
    return Instances(
        SIZE,
        gt_boxes=Boxes(torch.cat([low, low + size], dim=1)),
        gt_classes=torch.randint(K, (count,), generator=generator),
    )


def predictions(count: int, values: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, count, values, generator=generator, dtype=torch.float64)


def anchors_of(sizes: list[list[int]], ratios: list[float], offset: float) -> list[Boxes]:
    generator = DefaultAnchorGenerator(
        sizes=sizes, aspect_ratios=ratios, strides=[4, 8], offset=offset
    )
    levels: list[Boxes] = generator([torch.zeros(1, 4, side, side) for side in SIDES])
    return levels


def as_targets(gt: Instances) -> list[dict[str, Tensor]]:
    return [{"boxes": gt.gt_boxes.tensor.double(), "labels": gt.gt_classes}]


def in_levels(values: Tensor, anchors: list[Boxes]) -> Any:
    return values.split([len(level) for level in anchors], dim=1)


@pytest.mark.parametrize("seed", range(6))
def test_retinanet_losses_are_those_of_torchvision(build_dense: Build, seed: int) -> None:
    """With one image: torchvision averages over images the quotients that we sum up first."""
    anchors = anchors_of([[8], [16]], [0.5, 2.0], 0.0)
    every = Boxes.cat(anchors).tensor.double()
    gt = objects(seed)
    their = TheirRetinaNet(
        Nothing(),
        num_classes=K,
        anchor_generator=AnchorGenerator(((8,), (16,)), ((0.5, 2.0),) * 2),
    )
    logits, deltas = predictions(len(every), K, seed), predictions(len(every), 4, seed + 100)
    wanted = their.compute_loss(
        as_targets(gt), {"cls_logits": logits, "bbox_regression": deltas}, [every]
    )
    ours = build_dense("retinanet", smooth_l1_beta=0.0).double()
    labels, boxes = ours.label_anchors(anchors, [gt])
    found = ours.losses(
        anchors, in_levels(logits, anchors), labels, in_levels(deltas, anchors), boxes
    )
    foreground = int(((labels[0] >= 0) & (labels[0] < K)).sum())
    assert foreground > 0
    for name, theirs in (("loss_cls", "classification"), ("loss_box_reg", "bbox_regression")):
        summed = found[name] * ours.loss_normalizer
        torch.testing.assert_close(summed / foreground, wanted[theirs], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_fcos_losses_are_those_of_torchvision(build_dense: Build, seed: int) -> None:
    anchors = anchors_of([[4], [8]], [1.0], 0.5)
    every = Boxes.cat(anchors).tensor.double()
    gt = objects(seed)
    their = TheirFCOS(
        Nothing(), num_classes=K, anchor_generator=AnchorGenerator(((4,), (8,)), ((1.0,),) * 2)
    )
    # Of torchvision's head distances are never negative, by ours they count as 0.
    logits, deltas = predictions(len(every), K, seed), predictions(len(every), 4, seed + 100).relu()
    centreness = predictions(len(every), 1, seed + 200)
    head_outputs = {"cls_logits": logits, "bbox_regression": deltas, "bbox_ctrness": centreness}
    counts = [len(level) for level in anchors]
    wanted = their.compute_loss(as_targets(gt), head_outputs, [every], counts)
    ours = build_dense("fcos").double()
    labels, boxes = ours.label_anchors(anchors, [gt])
    found = ours.losses(
        anchors,
        in_levels(logits, anchors),
        labels,
        in_levels(deltas, anchors),
        boxes,
        in_levels(centreness, anchors),
    )
    foreground = int((labels[0] < K).sum())
    assert foreground > 0
    for name, theirs in (
        ("loss_fcos_cls", "classification"),
        ("loss_fcos_loc", "bbox_regression"),
        ("loss_fcos_ctr", "bbox_ctrness"),
    ):
        summed = found[name] * ours.loss_normalizer
        torch.testing.assert_close(summed / foreground, wanted[theirs], rtol=1e-5, atol=1e-9)
