"""roi_align beside torchvision's: 512 RoIs on 2 x 256 x 200 x 304 features, 7 x 7, adaptive."""

from __future__ import annotations

import torch
import torchvision
from _paired import Paired, measure_pairs, report
from torch import Tensor

import d2_ops


def rois_of_side(low: float, high: float, n: int = 512) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(n, 2, generator=generator) * torch.tensor([1216.0, 800.0])
    sides = torch.rand(n, 2, generator=generator) * (high - low) + low
    images = torch.randint(0, 2, (n, 1), generator=generator)
    return torch.cat([images, centres - sides / 2, centres + sides / 2], 1)


def main() -> None:
    torch.set_num_threads(2)
    features = torch.randn(2, 256, 200, 304, generator=torch.Generator().manual_seed(1))
    learned = features.clone().requires_grad_()
    rows: dict[str, Paired] = {}
    for low, high in ((16, 112), (32, 512)):
        rois = rois_of_side(low, high)
        settings = (rois, (7, 7), 0.25, 0, True)
        rows[f"forward, {low}-{high} px"] = measure_pairs(
            lambda s=settings: d2_ops.roi_align(features, *s),
            lambda s=settings: torchvision.ops.roi_align(features, *s),
            seconds=8,
        )
        ours = d2_ops.roi_align(learned, *settings)
        theirs = torchvision.ops.roi_align(learned, *settings)
        gradient = torch.randn_like(ours)
        rows[f"backward, {low}-{high} px"] = measure_pairs(
            lambda y=ours, g=gradient: torch.autograd.grad(y, learned, g, retain_graph=True),
            lambda y=theirs, g=gradient: torch.autograd.grad(y, learned, g, retain_graph=True),
            seconds=8,
        )
    small, one = torch.rand(1, 1, 8, 8), torch.tensor([[0.0, 1, 1, 5, 5]])
    rows["one bin of one RoI"] = measure_pairs(
        lambda: d2_ops.roi_align(small, one, 1),
        lambda: torchvision.ops.roi_align(small, one, 1),
    )
    report("ops-roi-align-cpu", rows, "torchvision", threads=2)


if __name__ == "__main__":
    main()
