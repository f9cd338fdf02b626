"""Time masks, boxes and keypoints against the straightforward way of doing the same.

The other way is written with torch and pycocotools, one instance after the other, as existing
detection libraries do it.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from _paired import measure_pairs, report
from pycocotools import mask as coco
from torch.nn import functional as F

from d2_ops import roi_align
from d2_structures import (
    BitMasks,
    Boxes,
    Instances,
    PolygonMasks,
    heatmaps_to_keypoints,
    pairwise_iou,
)

HEIGHT, WIDTH, COUNT = 800, 1216, 100
Pair = tuple[Callable[[], object], Callable[[], object]]


def random_boxes(count: int, low: float, high: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = low + torch.rand(count, 2, generator=generator) * (high - low)
    start = torch.rand(count, 2, generator=generator) * (torch.tensor([WIDTH, HEIGHT]) - size)
    return torch.cat((start, start + size), dim=1)


def random_polygons(boxes: torch.Tensor, corners: int = 24) -> list[list[np.ndarray]]:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    circle = np.stack((np.cos(angles), np.sin(angles)), axis=1) / 2 + 0.5
    return [[(circle * (b[2:] - b[:2]) + b[:2]).ravel()] for b in boxes.double().numpy()]


def pycocotools_mask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    rles = coco.frPyObjects([polygon.tolist() for polygon in polygons], height, width)
    return np.asarray(coco.decode(coco.merge(rles))).astype(bool)


def polygon_crops(masks: PolygonMasks, boxes: torch.Tensor) -> Pair:
    def one_by_one() -> torch.Tensor:
        crops = []
        for polygons, box in zip(masks.polygons, boxes.numpy(), strict=True):
            scale = 28 / np.maximum(box[2:] - box[:2], 0.1)
            moved = [((p.reshape(-1, 2) - box[:2]) * scale).ravel() for p in polygons]
            crops.append(torch.from_numpy(pycocotools_mask(moved, 28, 28)))
        return torch.stack(crops)

    return lambda: masks.crop_and_resize(boxes, 28), one_by_one


def bitmaps_of_polygons(masks: PolygonMasks) -> Pair:
    def one_by_one() -> torch.Tensor:
        drawn = [pycocotools_mask(polygons, HEIGHT, WIDTH) for polygons in masks.polygons]
        return torch.stack([torch.from_numpy(bitmap) for bitmap in drawn])

    return lambda: BitMasks.from_polygon_masks(masks, HEIGHT, WIDTH), one_by_one


def bitmap_crops(masks: BitMasks, boxes: torch.Tensor) -> Pair:
    def with_roi_align() -> torch.Tensor:
        rois = torch.cat((torch.arange(float(len(masks)))[:, None], boxes), dim=1)
        return roi_align(masks.tensor[:, None].float(), rois, 28, 1.0, 0, True) >= 0.5

    return lambda: masks.crop_and_resize(boxes, 28), with_roi_align


def bitmap_boxes(masks: BitMasks) -> Pair:
    def one_by_one() -> torch.Tensor:
        boxes = torch.zeros(len(masks), 4)
        columns, rows = masks.tensor.any(dim=1), masks.tensor.any(dim=2)
        for i in range(len(masks)):
            x, y = columns[i].nonzero()[:, 0], rows[i].nonzero()[:, 0]
            if len(x):
                boxes[i] = torch.tensor([x[0], y[0], x[-1] + 1, y[-1] + 1])
        return boxes

    return masks.get_bounding_boxes, one_by_one


def keypoints(boxes: torch.Tensor) -> Pair:
    maps = torch.randn(len(boxes), 17, 56, 56, generator=torch.Generator().manual_seed(0))

    def one_by_one() -> torch.Tensor:
        found = torch.zeros(len(boxes), 17, 2)
        sizes = (boxes[:, 2:] - boxes[:, :2]).ceil().int().tolist()
        for i, (width, height) in enumerate(sizes):
            enlarged = F.interpolate(maps[i : i + 1], (height, width), mode="bicubic")
            position = enlarged.flatten(2).argmax(dim=2)[0]
            found[i] = torch.stack((position % width, position // width), dim=1)
        return found

    return lambda: heatmaps_to_keypoints(maps, boxes), one_by_one


def overlaps(first: Boxes, second: Boxes) -> Pair:
    def with_pairs_of_corners() -> torch.Tensor:
        a, b = first.tensor[:, None], second.tensor
        size = (torch.min(a[..., 2:], b[:, 2:]) - torch.max(a[..., :2], b[:, :2])).clamp_(min=0)
        both = size.prod(dim=2)
        return torch.where(both > 0, both / (first.area()[:, None] + second.area() - both), 0)

    return lambda: pairwise_iou(first, second), with_pairs_of_corners


def work() -> dict[str, Pair]:
    boxes = random_boxes(COUNT, 30, 250)
    polygons = PolygonMasks(random_polygons(boxes))
    bitmaps = BitMasks.from_polygon_masks(polygons, HEIGHT, WIDTH)
    return {
        "PolygonMasks.crop_and_resize, 100 to 28": polygon_crops(polygons, boxes),
        "BitMasks.from_polygon_masks, 100": bitmaps_of_polygons(polygons),
        "BitMasks.crop_and_resize, 100 to 28": bitmap_crops(bitmaps, boxes),
        "BitMasks.get_bounding_boxes, 100": bitmap_boxes(bitmaps),
        "heatmaps_to_keypoints, 100 x 17": keypoints(boxes),
        "pairwise_iou, 20 x 243 000": overlaps(
            Boxes(random_boxes(20, 30, 250, 1)), Boxes(random_boxes(243_000, 30, 250, 2))
        ),
        "Instances.cat, 16 x 100, 4 fields": joining(),
    }


def joining() -> Pair:
    parts = [
        {
            "boxes": torch.rand(100, 4),
            "scores": torch.rand(100),
            "classes": torch.zeros(100, dtype=torch.int64),
            "areas": torch.rand(100),
        }
        for _ in range(16)
    ]
    wrapped = [
        Instances((HEIGHT, WIDTH), **{**part, "boxes": Boxes(part["boxes"])}) for part in parts
    ]
    return (
        lambda: Instances.cat(wrapped),
        lambda: {name: torch.cat([part[name] for part in parts]) for name in parts[0]},
    )


def main() -> None:
    torch.set_num_threads(1)
    rows = {
        name: measure_pairs(ours, other, clock=time.process_time)
        for name, (ours, other) in work().items()
    }
    report("structures-masks-boxes-keypoints", rows, "plain torch", clock="CPU time", threads=1)


if __name__ == "__main__":
    main()
