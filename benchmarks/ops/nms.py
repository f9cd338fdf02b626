"""nms and batched_nms beside torchvision's, boxes overlapping as a detector's proposals do."""

from __future__ import annotations

import torch
import torchvision
from _paired import Paired, measure_pairs, report
from torch import Tensor

import d2_ops


def boxes_and_scores(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    centres = torch.rand(n, 2, generator=generator) * torch.tensor([1333.0, 800.0])
    sides = torch.rand(n, 2, generator=generator) * 112 + 16
    corners = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    return corners, torch.rand(n, generator=generator)


def main() -> None:
    torch.set_num_threads(2)
    rows: dict[str, Paired] = {}
    for n in (1, 10, 100, 1_000, 6_000, 20_000):
        boxes, scores = boxes_and_scores(n)
        rows[f"nms {n}"] = measure_pairs(
            lambda boxes=boxes, scores=scores: d2_ops.nms(boxes, scores, 0.7),
            lambda boxes=boxes, scores=scores: torchvision.ops.nms(boxes, scores, 0.7),
        )
    for n in (1_000, 8_000):
        boxes, scores = boxes_and_scores(n)
        classes = torch.arange(n) * 7919 % 80
        rows[f"batched_nms {n}, 80 classes"] = measure_pairs(
            lambda b=boxes, s=scores, c=classes: d2_ops.batched_nms(b, s, c, 0.5),
            lambda b=boxes, s=scores, c=classes: torchvision.ops.batched_nms(b, s, c, 0.5),
        )
    report("ops-nms-cpu", rows, "torchvision", threads=2)


if __name__ == "__main__":
    main()
