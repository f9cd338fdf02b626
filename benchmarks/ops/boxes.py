"""Overlaps, matching, decoding and losses of boxes beside torchvision's.

Anchors are those of five levels of an 800 x 1216 image, 242 991 in the order in which an RPN makes
them. torchvision's matcher gets its own matrix of overlaps, as its detectors do it.
"""

from __future__ import annotations

import torch
import torchvision
from _paired import Paired, measure_pairs, report
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher

import d2_ops


def random_boxes(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=generator) * torch.tensor([1100.0, 700.0])
    return torch.cat([low, low + torch.rand(n, 2, generator=generator) * 112 + 16], 1)


def anchors_of_an_image(height: int = 800, width: int = 1216) -> Tensor:
    levels = []
    for stride in (4, 8, 16, 32, 64):
        rows, columns = torch.arange(0, height, stride), torch.arange(0, width, stride)
        ys, xs = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack([xs, ys, xs, ys], 2).reshape(-1, 1, 4)
        ratios = torch.tensor([0.5, 1.0, 2.0]).sqrt()
        half = torch.stack([1 / ratios, ratios], 1) * 4 * stride
        levels.append((centres + torch.cat([-half, half], 1)).reshape(-1, 4))
    return torch.cat(levels)


def overlaps() -> dict[str, Paired]:
    rows = {}
    anchors = anchors_of_an_image()
    pairs = {
        "1 000 x 100 000": (random_boxes(1_000), random_boxes(100_000, 1)),
        "20 x 242 991": (random_boxes(20), anchors),
        "100 x 100": (random_boxes(100), random_boxes(100, 1)),
    }
    for name, (first, second) in pairs.items():
        rows[f"pairwise_iou {name}"] = measure_pairs(
            lambda a=first, b=second: d2_ops.pairwise_iou(a, b),
            lambda a=first, b=second: torchvision.ops.box_iou(a, b),
            rounds=7,
            seconds=6,
        )
    first, second = pairs["20 x 242 991"]
    rows["pairwise_iou 20 x 242 991, peer: zeros alone"] = measure_pairs(
        lambda: d2_ops.pairwise_iou(first, second), lambda: torch.zeros(20, len(second))
    )
    rows["pairwise_giou 20 x 242 991"] = measure_pairs(
        lambda: d2_ops.pairwise_giou(first, second),
        lambda: torchvision.ops.generalized_box_iou(first, second),
        rounds=7,
    )
    return rows


def matching() -> dict[str, Paired]:
    rows = {}
    anchors = anchors_of_an_image()
    shuffled = anchors[torch.randperm(len(anchors), generator=torch.Generator().manual_seed(0))]
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    cases = {
        "20 x 242 991": (random_boxes(20), anchors),
        "20 x 242 991 in random order": (random_boxes(20), shuffled),
        "200 x 242 991": (random_boxes(200), anchors),
        "20 x 2 000": (random_boxes(20), random_boxes(2_000, 1)),
    }
    for name, (gt_boxes, boxes) in cases.items():
        rows[f"match_anchors {name}"] = measure_pairs(
            lambda g=gt_boxes, b=boxes: d2_ops.match_anchors(g, b, [0.3, 0.7], [0, -1, 1], True),
            lambda g=gt_boxes, b=boxes: matcher(torchvision.ops.box_iou(g, b)),
            rounds=9,
            seconds=4,
        )
    return rows


def decoding() -> dict[str, Paired]:
    rows = {}
    weights = (10.0, 10.0, 5.0, 5.0)
    coder = BoxCoder(weights)
    generator = torch.Generator().manual_seed(2)
    for n, k in ((1_000, 80), (2_000, 1), (242_991, 1)):
        deltas, boxes = torch.randn(n, 4 * k, generator=generator), random_boxes(n)
        rows[f"decode_boxes {n} x {k}"] = measure_pairs(
            lambda d=deltas, b=boxes: d2_ops.decode_boxes(d, b, weights),
            lambda d=deltas, b=boxes: coder.decode_single(d, b),
        )

        def clipped_by_peer(deltas: Tensor = deltas, boxes: Tensor = boxes) -> Tensor:
            decoded = coder.decode_single(deltas, boxes).reshape(-1, 4)
            decoded = torchvision.ops.clip_boxes_to_image(decoded, (800, 1216))
            return torchvision.ops.remove_small_boxes(decoded, 1.0)

        rows[f"decode_and_clip_boxes {n} x {k}"] = measure_pairs(
            lambda d=deltas, b=boxes: d2_ops.decode_and_clip_boxes(
                d, b, (800, 1216), weights, min_size=1.0
            ),
            clipped_by_peer,
        )
    return rows


def losses(anchors: int = 100_000) -> dict[str, Paired]:
    """The logits of RetinaNet for two images, fewer of them than it has, to be done soon."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(anchors, 80, generator=generator)
    targets = torch.zeros_like(logits)
    targets[::100, 3] = 1
    learned = logits.clone().requires_grad_()

    def step(loss: Tensor) -> object:
        return torch.autograd.grad(loss, learned)

    rows = {}
    for gamma in (2.0, 1.5):
        name = f"sigmoid_focal_loss {anchors} x 80, gamma {gamma:g}"
        rows[name] = measure_pairs(
            lambda g=gamma: d2_ops.sigmoid_focal_loss(logits, targets, 0.25, g, "sum"),
            lambda g=gamma: torchvision.ops.sigmoid_focal_loss(logits, targets, 0.25, g, "sum"),
            rounds=7,
            seconds=5,
        )
        rows[f"{name}, with backward"] = measure_pairs(
            lambda g=gamma: step(d2_ops.sigmoid_focal_loss(learned, targets, 0.25, g, "sum")),
            lambda g=gamma: step(
                torchvision.ops.sigmoid_focal_loss(learned, targets, 0.25, g, "sum")
            ),
            rounds=5,
            seconds=6,
        )
    first, second = random_boxes(512), random_boxes(512, 1)
    for ours, peer in (
        (d2_ops.giou_loss, torchvision.ops.generalized_box_iou_loss),
        (d2_ops.ciou_loss, torchvision.ops.complete_box_iou_loss),
    ):
        rows[f"{ours.__name__} 512"] = measure_pairs(
            lambda f=ours: f(first, second), lambda f=peer: f(first, second)
        )
    return rows


def main() -> None:
    torch.set_num_threads(2)
    rows = {**overlaps(), **matching(), **decoding(), **losses()}
    report("ops-boxes-cpu", rows, "torchvision", threads=2)


if __name__ == "__main__":
    main()
