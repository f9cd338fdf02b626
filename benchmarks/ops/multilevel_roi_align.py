"""multilevel_roi_align and roi_pool beside torchvision's.

Four levels of 256 channels for 800 x 1216 images, two images with 1 000 boxes of 16-512 px each.
Maps in channels-last, which both take, are read as they are by ours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torchvision
from _paired import Paired, measure_pairs, report
from torch import Tensor

import d2_ops

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def boxes_of_an_image(seed: int, n: int = 1000) -> Tensor:
    """Sides are spread evenly over their logarithm, as proposals are."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.tensor([1216.0, 800.0])
    centres = torch.rand(n, 2, generator=generator) * image
    sides = 16 * 32 ** torch.rand(n, 2, generator=generator)
    corners = [(centres - sides / 2).clamp(min=0), torch.minimum(centres + sides / 2, image)]
    return torch.cat(corners, 1)


def backward_of(output: Tensor, inputs: list[Tensor], gradient: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(output, inputs, gradient, retain_graph=True)


def main() -> None:
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(2, 256, 200 >> i, 304 >> i, generator=generator) for i in range(4)]
    boxes = [boxes_of_an_image(0), boxes_of_an_image(1)]
    names = [str(i) for i in range(4)]
    shapes = [(800, 1216)] * 2
    rows: dict[str, Paired] = {}
    last = [each.contiguous(memory_format=torch.channels_last) for each in features]
    for sampling_ratio, sampling, maps in (
        (0, "adaptive", features),
        (2, "2 x 2 samples", features),
        (0, "adaptive, channels-last", last),
    ):
        peer = torchvision.ops.MultiScaleRoIAlign(names, 7, sampling_ratio)

        def ours(maps: list[Tensor], ratio: int = sampling_ratio) -> Tensor:
            return d2_ops.multilevel_roi_align(maps, boxes, 7, SCALES, ratio)

        def theirs(maps: list[Tensor], peer: torch.nn.Module = peer) -> Tensor:
            pooled: Tensor = peer(OrderedDict(zip(names, maps, strict=True)), boxes, shapes)
            return pooled

        rows[f"multilevel, {sampling}, forward"] = measure_pairs(
            lambda f=ours, m=maps: f(m), lambda f=theirs, m=maps: f(m), seconds=8
        )
        learned = [each.clone().requires_grad_() for each in maps]
        ours_out, theirs_out = ours(learned), theirs(learned)
        gradient = torch.randn_like(ours_out)
        rows[f"multilevel, {sampling}, backward"] = measure_pairs(
            backward_of(ours_out, learned, gradient),
            backward_of(theirs_out, learned, gradient),
            seconds=8,
        )
    index = torch.arange(2.0).repeat_interleave(1000)[:, None]
    rois = torch.cat([index, torch.cat(boxes)], 1)
    learned_map = features[0].clone().requires_grad_()
    rows["roi_pool on the finest level, forward"] = measure_pairs(
        lambda: d2_ops.roi_pool(features[0], rois, 7, SCALES[0]),
        lambda: torchvision.ops.roi_pool(features[0], rois, 7, SCALES[0]),
        seconds=8,
    )
    ours_out = d2_ops.roi_pool(learned_map, rois, 7, SCALES[0])
    theirs_out = torchvision.ops.roi_pool(learned_map, rois, 7, SCALES[0])
    rows["roi_pool on the finest level, backward"] = measure_pairs(
        backward_of(ours_out, [learned_map], gradient),
        backward_of(theirs_out, [learned_map], gradient),
        seconds=8,
    )
    report("ops-multilevel-roi-align-cpu", rows, "torchvision", threads=2)


if __name__ == "__main__":
    main()
