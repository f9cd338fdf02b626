"""Mask kernels for NumPy beside pycocotools: 100 polygons of 40 points, 800 x 1216."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco
from _paired import Paired, measure_pairs, report
from numpy.typing import NDArray

from d2_ops import host

HEIGHT, WIDTH = 800, 1216


def polygons() -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (100, 40)), axis=1)
    radii = rng.uniform(10, 150, (100, 1)) * rng.uniform(0.7, 1.0, (100, 40))
    centres = rng.uniform(0, (WIDTH, HEIGHT), (100, 2))
    points = centres[:, None] + radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], 2)
    return list(points.reshape(100, -1))


def coco_mask(polygon: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    return coco.decode(coco.merge(coco.frPyObjects([polygon.tolist()], height, width)))


def coco_crop(
    polygon: NDArray[np.float64], box: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    scale = size / np.maximum(box[2:] - box[:2], 0.1)
    return coco_mask(((polygon.reshape(-1, 2) - box[:2]) * scale).ravel(), size, size)


def main() -> None:
    shapes = polygons()
    masks = np.stack([host.polygons_to_bitmask([p], HEIGHT, WIDTH) for p in shapes])
    fortran = [np.asfortranarray(mask.view(np.uint8)) for mask in masks]
    rles = host.rle_encode(masks)
    pairs = [polygon.reshape(-1, 2) for polygon in shapes]
    boxes = np.array([[*p.min(0), *p.max(0)] for p in pairs])
    instances = [[polygon] for polygon in shapes]
    rows: dict[str, Paired] = {
        "polygons to bit masks": measure_pairs(
            lambda: [host.polygons_to_bitmask([p], HEIGHT, WIDTH) for p in shapes],
            lambda: [coco_mask(p, HEIGHT, WIDTH) for p in shapes],
        ),
        "polygons to RLE": measure_pairs(
            lambda: [host.polygons_to_rle([p], HEIGHT, WIDTH) for p in shapes],
            lambda: [coco.merge(coco.frPyObjects([p.tolist()], HEIGHT, WIDTH)) for p in shapes],
        ),
        "crop and resize to 28 x 28": measure_pairs(
            lambda: host.crop_and_resize_polygons(instances, boxes, 28),
            lambda: [coco_crop(p, b, 28) for p, b in zip(shapes, boxes, strict=True)],
        ),
        "encode (C order)": measure_pairs(
            lambda: host.rle_encode(masks),
            lambda: [coco.encode(np.asfortranarray(m.view(np.uint8))) for m in masks],
        ),
        "encode (Fortran order)": measure_pairs(
            lambda: [host.rle_encode(m) for m in fortran], lambda: [coco.encode(m) for m in fortran]
        ),
        "decode": measure_pairs(lambda: host.rle_decode(rles), lambda: coco.decode(rles)),
        "area": measure_pairs(lambda: host.rle_area(rles), lambda: coco.area(rles)),
    }
    report("ops-host-masks", rows, "pycocotools")


if __name__ == "__main__":
    main()
