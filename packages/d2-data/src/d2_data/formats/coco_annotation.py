"""From an annotation in the standard dataset format to one of COCO's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from d2_data.annotations import normalized_annotation, segmentation_area
from d2_data.located_errors import located
from d2_ops.host import rle_encode
from d2_structures import BoxMode

__all__ = ["coco_annotation"]

_ROTATED = BoxMode.XYWHA_ABS


def coco_annotation(
    annotation: Mapping[str, Any], image_size: tuple[int, int], where: str
) -> dict[str, Any]:
    """Write one instance the way COCO's files do.

    Args:
        annotation: in the standard dataset format, as far as
            :func:`~d2_data.annotations.normalized_annotation` understands it; a segmentation may
            also be an (H, W) mask. It stays as it is.
        image_size: (height, width) of its image in pixels.
        where: names the annotation in errors.

    Returns:
        JSON-ready: ``bbox`` as x, y, width, height in pixels, or x_center, y_center, width,
        height, degrees counter-clockwise of a rotated box; ``iscrowd``; ``area`` in square pixels,
        of the mask or else of the box; ``segmentation`` and ``keypoints`` where there are any,
        the latter as pixel indices (−0.5) and with ``num_keypoints``. No category and no ids.

    Raises:
        ValueError: if the box, the segmentation or the keypoints cannot be read.
    """
    with located(where):
        normal = normalized_annotation(_with_run_lengths(annotation), image_size)
        box = _box(normal, image_size)
    segmentation = normal.get("segmentation")
    area = None if segmentation is None else segmentation_area(segmentation, image_size)
    entry: dict[str, Any] = {
        "bbox": [round(float(value), 3) for value in box],
        "iscrowd": normal.get("iscrowd", 0),
        "area": float(box[2] * box[3]) if area is None else area,
    }
    if segmentation is not None:
        entry["segmentation"] = _json_ready(segmentation)
    if "keypoints" in normal:
        entry |= _keypoints(normal["keypoints"])
    return entry


def _with_run_lengths(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """The annotation, a mask in it encoded."""
    mask = annotation.get("segmentation")
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.dtype in (np.bool_, np.uint8):
        return {**annotation, "segmentation": rle_encode(mask)}
    return dict(annotation)


def _box(annotation: Mapping[str, Any], image_size: tuple[int, int]) -> list[float]:
    mode = annotation["bbox_mode"]
    wanted = mode if mode == _ROTATED else BoxMode.XYWH_ABS
    return BoxMode.convert(list(annotation["bbox"]), mode, wanted, image_size=image_size)


def _json_ready(segmentation: Any) -> Any:
    if not isinstance(segmentation, Mapping):
        return segmentation
    counts = segmentation["counts"]
    return {
        "size": list(segmentation["size"]),
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _keypoints(keypoints: list[float]) -> dict[str, Any]:
    points = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    points[:, :2] -= 0.5
    return {
        "keypoints": points.reshape(-1).tolist(),
        "num_keypoints": int(np.count_nonzero(points[:, 2] > 0)),
    }
