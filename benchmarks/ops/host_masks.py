"""Mask kernels for NumPy beside pycocotools and what offers its interface.

100 polygons of 40 points, 800 x 1216. ``hotcoco`` and ``faster-coco-eval`` are compared too where
they are installed, and the boundaries where OpenCV is. One thread each, and its CPU time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import _paired
import numpy as np
from _paired import Paired, report
from numpy.typing import NDArray

from d2_ops import host

try:
    import cv2
except ImportError:  # only the peer of the boundaries needs it
    cv2 = None

HEIGHT, WIDTH = 800, 1216
ALONE: dict[str, Any] = {"num_threads": 1}
measure_pairs = partial(_paired.measure_pairs, clock=time.process_time)


def polygons() -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (100, 40)), axis=1)
    radii = rng.uniform(10, 150, (100, 1)) * rng.uniform(0.7, 1.0, (100, 40))
    centres = rng.uniform(0, (WIDTH, HEIGHT), (100, 2))
    points = centres[:, None] + radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], 2)
    return list(points.reshape(100, -1))


def peers() -> Iterator[tuple[str, Any]]:
    for module in ("pycocotools.mask", "hotcoco.mask", "faster_coco_eval.core.mask"):
        try:
            yield module.partition(".")[0], import_module(module)
        except ImportError:
            print(f"{module} is not installed")


def coco_mask(coco: Any, polygon: NDArray[np.float64], height: int, width: int) -> Any:
    return coco.decode(coco.merge(coco.frPyObjects([polygon.tolist()], height, width)))


def coco_crop(coco: Any, polygon: NDArray[np.float64], box: NDArray[np.float64], size: int) -> Any:
    scale = size / np.maximum(box[2:] - box[:2], 0.1)
    return coco_mask(coco, ((polygon.reshape(-1, 2) - box[:2]) * scale).ravel(), size, size)


def coco_boundary(coco: Any, rle: Any) -> Any:
    """The boundary as the authors of boundary IoU compute it."""
    mask = coco.decode(rle)
    distance = max(round(0.02 * float(np.hypot(HEIGHT, WIDTH))), 1)
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return coco.encode(np.asfortranarray(mask - eroded[1:-1, 1:-1]))


def compare(coco: Any) -> dict[str, Paired]:
    shapes = polygons()
    masks = np.stack([host.polygons_to_bitmask([p], HEIGHT, WIDTH) for p in shapes])
    fortran = [np.asfortranarray(mask.view(np.uint8)) for mask in masks]
    rles = host.rle_encode(masks)
    pairs = [polygon.reshape(-1, 2) for polygon in shapes]
    boxes = np.array([[*p.min(0), *p.max(0)] for p in pairs])
    instances = [[polygon] for polygon in shapes]
    crowd = [i % 10 == 0 for i in range(100)]
    many = np.random.default_rng(1).uniform(0, 400, (1000, 4))
    flags = [0] * 1000
    return {
        "polygons to bit masks": measure_pairs(
            lambda: host.polygons_to_bitmasks(instances, HEIGHT, WIDTH, **ALONE),
            lambda: [coco_mask(coco, p, HEIGHT, WIDTH) for p in shapes],
        ),
        "polygons to RLE": measure_pairs(
            lambda: host.polygons_to_rles(instances, HEIGHT, WIDTH, **ALONE),
            lambda: [coco.merge(coco.frPyObjects([p.tolist()], HEIGHT, WIDTH)) for p in shapes],
        ),
        "crop and resize to 28 x 28": measure_pairs(
            lambda: host.crop_and_resize_polygons(instances, boxes, 28, **ALONE),
            lambda: [coco_crop(coco, p, b, 28) for p, b in zip(shapes, boxes, strict=True)],
        ),
        "encode (C order)": measure_pairs(
            lambda: host.rle_encode(masks, **ALONE),
            lambda: [coco.encode(np.asfortranarray(m.view(np.uint8))) for m in masks],
        ),
        "encode (Fortran order)": measure_pairs(
            lambda: [host.rle_encode(m, **ALONE) for m in fortran],
            lambda: [coco.encode(m) for m in fortran],
        ),
        "decode": measure_pairs(lambda: host.rle_decode(rles, **ALONE), lambda: coco.decode(rles)),
        "area": measure_pairs(lambda: host.rle_area(rles, **ALONE), lambda: coco.area(rles)),
        "bounding boxes": measure_pairs(
            lambda: host.rle_bounding_boxes(rles, **ALONE), lambda: coco.toBbox(rles)
        ),
        "union of 100": measure_pairs(
            lambda: host.rle_merge(rles, **ALONE), lambda: coco.merge(rles)
        ),
        "IoU of 100 x 100 masks": measure_pairs(
            lambda: host.rle_iou(rles, rles, crowd, **ALONE), lambda: coco.iou(rles, rles, crowd)
        ),
        "IoU of 1000 x 1000 boxes": measure_pairs(
            lambda: host.box_iou(many, many, flags, **ALONE), lambda: coco.iou(many, many, flags)
        ),
        "boundaries of 100": measure_pairs(
            lambda: host.rle_boundary(rles, **ALONE),
            cv2 and (lambda: [coco_boundary(coco, rle) for rle in rles]),
        ),
    }


def main() -> None:
    for name, coco in peers():
        topic = "ops-host-masks" if name == "pycocotools" else f"ops-host-masks-{name}"
        report(topic, compare(coco), name, clock="CPU time", threads=1)


if __name__ == "__main__":
    main()
