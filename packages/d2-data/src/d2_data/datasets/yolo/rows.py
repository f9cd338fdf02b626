"""The lines of YOLO's label files."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from d2_data.datasets.yolo.description import YoloDescription
from d2_structures import BoxMode

__all__ = ["RowReader"]

_TOLERANCE = 0.01
"""How far a fraction may leave 0..1, by rounding or by a hand that slipped over the edge."""

_LABELLED = 2


class RowReader:
    """Turns lines into annotations of the standard dataset format.

    Args:
        description: of the dataset.
        rotated: whether four corners are a rotated box instead of a polygon.
    """

    def __init__(self, description: YoloDescription, *, rotated: bool) -> None:
        self._classes = {number: i for i, number in enumerate(sorted(description.names))}
        self._keypoints = description.keypoint_shape
        self._rotated = rotated

    def read(self, file: Path, image_size: tuple[int, int]) -> list[dict[str, Any]]:
        """The annotations of one image of ``image_size`` (height, width)."""
        lines = file.read_text(encoding="utf-8").splitlines()
        return [
            self._annotation(line.split(), image_size, f"label file {str(file)!r}, line {number}")
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]

    def _annotation(
        self, words: list[str], image_size: tuple[int, int], where: str
    ) -> dict[str, Any]:
        numbers = _numbers(words, where)
        label = numbers[0]
        if label not in self._classes:
            raise ValueError(
                f"{where}: there is no class {words[0]}; the description names "
                f"{list(self._classes)}"
            )
        height, width = image_size
        scale = np.array([width, height], dtype=np.float64)
        geometry = self._geometry(np.array(numbers[1:]), scale, where)
        return {**geometry, "category_id": self._classes[int(label)]}

    def _geometry(self, values: np.ndarray, scale: np.ndarray, where: str) -> dict[str, Any]:
        if self._keypoints is not None:
            count, size = self._keypoints
            if len(values) != 4 + count * size:
                raise ValueError(
                    f"{where} has {len(values)} numbers behind the class; a box and {count} "
                    f"keypoints of {size} numbers are {4 + count * size}"
                )
            points = values[4:].reshape(count, size)
            return _box(values[:4], scale, where) | _pose(points, scale, where)
        if len(values) == 4:
            return _box(values, scale, where)
        if len(values) < 6 or len(values) % 2:
            raise ValueError(
                f"{where} has {len(values)} numbers behind the class; wanted 4 of a box, or x and "
                "y of at least three points"
            )
        _check_fractions(values, where)
        corners = values.reshape(-1, 2) * scale
        if self._rotated and len(corners) == 4:
            return {"bbox": _rotated_box(corners), "bbox_mode": BoxMode.XYWHA_ABS}
        low, high = corners.min(axis=0), corners.max(axis=0)
        return {
            "bbox": [*low.tolist(), *(high - low).tolist()],
            "bbox_mode": BoxMode.XYWH_ABS,
            "segmentation": [corners.reshape(-1).tolist()],
        }


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where} is {' '.join(words)[:80]!r}; wanted a class and finite numbers")
    return numbers


def _check_fractions(values: np.ndarray, where: str) -> None:
    if values.size and (values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE):
        raise ValueError(
            f"{where} has numbers from {values.min():g} to {values.max():g}; coordinates are "
            "fractions of the image's width and height, from 0 to 1. Are they pixels?"
        )


def _box(values: np.ndarray, scale: np.ndarray, where: str) -> dict[str, Any]:
    _check_fractions(values, where)
    centre, size = values[:2] * scale, values[2:] * scale
    return {
        "bbox": [*(centre - size / 2).tolist(), *size.tolist()],
        "bbox_mode": BoxMode.XYWH_ABS,
    }


def _pose(points: np.ndarray, scale: np.ndarray, where: str) -> dict[str, Any]:
    _check_fractions(points[:, :2], where)
    if points.shape[1] == 3:
        visibility = points[:, 2]
    else:  # without visibility, a point in the corner is one that is not labelled
        visibility = _LABELLED * (points != 0).any(axis=1)
    flat = np.column_stack([points[:, :2] * scale, visibility])
    flat[visibility == 0] = 0
    return {"keypoints": flat.reshape(-1).tolist()}


def _rotated_box(corners: np.ndarray) -> list[float]:
    """The smallest rectangle around four corners, along one of their sides.

    Of a rectangle it is the rectangle itself, its width along the first side.

    Returns:
        x_center, y_center, width, height, degrees counter-clockwise within [-90, 90).
    """
    best: list[float] = []
    smallest = math.inf
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        angle = math.atan2(start[1] - end[1], end[0] - start[0])
        along = np.array([math.cos(angle), -math.sin(angle)])
        across = np.array([math.sin(angle), math.cos(angle)])
        extent = corners @ np.stack([along, across], axis=1)
        low, high = extent.min(axis=0), extent.max(axis=0)
        width, height = high - low
        if width * height < smallest * (1 - 1e-9):
            smallest = width * height
            middle = (low + high) / 2
            centre = middle[0] * along + middle[1] * across
            degrees = (math.degrees(angle) + 90) % 180 - 90
            best = [*centre.tolist(), float(width), float(height), degrees]
    return best
