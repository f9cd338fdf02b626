"""What a dataset dict says about its image, ready to draw."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..box_mode import BoxMode
from ..picture_files import open_picture

__all__ = ["AnnotationFields", "read_annotations", "read_panoptic_map", "read_semantic_map"]


class AnnotationFields(NamedTuple):
    """The annotations of one image, field by field; None where no annotation has the field."""

    boxes: NDArray[np.float64] | None
    masks: list[Any] | None
    keypoints: NDArray[np.float64] | None
    classes: list[int] | None
    is_crowd: list[bool]


def read_annotations(annotations: Sequence[dict[str, Any]]) -> AnnotationFields:
    """Collect the fields of instance annotations in the documented dataset format."""
    classes: list[int] | None = [int(a.get("category_id", -1)) for a in annotations]
    if all("category_id" not in a for a in annotations):
        classes = None
    masks = None
    if any("segmentation" in a for a in annotations):
        masks = [a.get("segmentation", []) for a in annotations]
    return AnnotationFields(
        boxes=_read_boxes(annotations),
        masks=masks,
        keypoints=_read_keypoints(annotations),
        classes=classes,
        is_crowd=[bool(a.get("iscrowd", 0)) for a in annotations],
    )


def _read_boxes(annotations: Sequence[dict[str, Any]]) -> NDArray[np.float64] | None:
    """(N, 4), or (N, 5) where one of the boxes is rotated."""
    if not annotations or any("bbox" not in a for a in annotations):
        return None
    modes = [BoxMode(a.get("bbox_mode", BoxMode.XYXY_ABS)) for a in annotations]
    wanted = BoxMode.XYWHA_ABS if BoxMode.XYWHA_ABS in modes else BoxMode.XYXY_ABS
    boxes = [
        BoxMode.convert([float(value) for value in a["bbox"]], mode, wanted)
        for a, mode in zip(annotations, modes, strict=True)
    ]
    return np.array(boxes, dtype=np.float64)


def _read_keypoints(annotations: Sequence[dict[str, Any]]) -> NDArray[np.float64] | None:
    """(N, K, 3); annotations without keypoints get invisible ones."""
    flat = [np.asarray(a.get("keypoints", ()), dtype=np.float64).reshape(-1) for a in annotations]
    longest = max((points.size for points in flat), default=0)
    if not longest:
        return None
    keypoints = np.zeros((len(flat), longest), np.float64)
    for row, points in zip(keypoints, flat, strict=True):
        if points.size not in (0, longest) or points.size % 3:
            raise ValueError(
                f"an annotation has {points.size} keypoint numbers, another {longest}; "
                "wanted x, y, visibility for the same keypoints in each"
            )
        row[: points.size] = points
    return keypoints.reshape(len(flat), -1, 3)


def read_semantic_map(dataset_dict: dict[str, Any]) -> Any | None:
    """The (H, W) semantic map in ``sem_seg`` or in the file ``sem_seg_file_name``."""
    if dataset_dict.get("sem_seg") is not None:
        return dataset_dict["sem_seg"]
    path = dataset_dict.get("sem_seg_file_name")
    return None if path is None else _read_image(path).astype(np.int64)


def read_panoptic_map(dataset_dict: dict[str, Any]) -> Any | None:
    """The (H, W) map of segment ids in ``pan_seg`` or in the PNG ``pan_seg_file_name``."""
    if dataset_dict.get("pan_seg") is not None:
        return dataset_dict["pan_seg"]
    path = dataset_dict.get("pan_seg_file_name")
    if path is None:
        return None
    image = _read_image(path).astype(np.int64)
    if image.ndim == 3:
        return image[..., 0] + 256 * image[..., 1] + 256 * 256 * image[..., 2]
    return image


def _read_image(path: str) -> NDArray[np.uint8]:
    with open_picture(path) as image:
        try:
            return np.asarray(image)
        except Exception as error:  # a decoder fails in any way on strange content
            raise OSError(
                f"label image {os.fspath(path)!r} cannot be decoded ({error}); it is damaged or "
                "cut short: fetch it again"
            ) from error
