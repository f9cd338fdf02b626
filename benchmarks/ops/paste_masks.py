"""paste_masks_in_image beside torchvision's, and beside writing as many bytes."""

from __future__ import annotations

import torch
from _paired import Paired, measure_pairs, report
from torchvision.models.detection.roi_heads import paste_masks_in_image as torchvision_paste

import d2_ops


def main() -> None:
    torch.set_num_threads(2)
    height, width = image = (800, 1200)
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(100, 28, 28, generator=generator)
    corners = torch.rand(100, 2, generator=generator) * torch.tensor([900.0, 500.0])
    boxes = torch.cat([corners, corners + torch.rand(100, 2, generator=generator) * 280 + 20], 1)

    def paste() -> torch.Tensor:
        return d2_ops.paste_masks_in_image(masks, boxes, image)

    rows: dict[str, Paired] = {
        "100 masks into 800 x 1200": measure_pairs(
            paste, lambda: torchvision_paste(masks[:, None], boxes, image) >= 0.5, seconds=8
        ),
        "the same, peer: zeros alone": measure_pairs(
            paste, lambda: torch.zeros(100, height, width, dtype=torch.bool), seconds=4
        ),
    }
    report("ops-paste-masks-cpu", rows, "torchvision", threads=2)


if __name__ == "__main__":
    main()
