"""What COCO's evaluation compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._array_arguments import floats, integers
from ._packed_rle import PackedRLEs, checked_packed_rles, pack_rles

# How far apart image numbers may be before they are numbered anew.
_SPARE_IMAGES = 1 << 20


@dataclass(frozen=True, eq=False, kw_only=True)
class CocoGroundTruths:
    """G annotated objects.

    Attributes:
        images: (G,) int, any numbers; objects are compared within an image.
        categories: (G,) int within 0 … K − 1.
        areas: (G,) square pixels, by which objects belong to the area ranges.
        boxes: (G, 4) x, y, width, height. Needed for boxes and for keypoints.
        masks: G masks, RLE dicts or packed. Needed for masks.
        keypoints: (G, 3 P) or (G, P, 3) x, y, visibility. Needed for keypoints.
        crowd: (G,) bool, none by default. A crowd may be matched many times, by the share of a
            detection that is in it.
        ignored: (G,) bool. What is matched with it does not count. By default crowds, and with
            keypoints also objects of which none is labelled.
        ids: (G,) int. Needed only where one may be 0: pycocotools takes who matches that for
            unmatched, and so do we then.
    """

    images: ArrayLike
    categories: ArrayLike
    areas: ArrayLike
    boxes: ArrayLike | None = None
    masks: PackedRLEs | Sequence[Mapping[str, Any]] | None = None
    keypoints: ArrayLike | None = None
    crowd: ArrayLike | None = None
    ignored: ArrayLike | None = None
    ids: ArrayLike | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class CocoDetections:
    """D detected objects.

    Attributes:
        images: (D,) int, as those of the ground truths.
        categories: (D,) int within 0 … K − 1.
        scores: (D,) float. Of equal ones the first counts as the higher.
        areas: (D,) square pixels; by default those of the boxes, of the masks, or of the extent of
            the keypoints.
        boxes: (D, 4) x, y, width, height. Needed for boxes.
        masks: D masks, RLE dicts or packed. Needed for masks.
        keypoints: (D, 3 P) or (D, P, 3) x, y, score. Needed for keypoints.
    """

    images: ArrayLike
    categories: ArrayLike
    scores: ArrayLike
    areas: ArrayLike | None = None
    boxes: ArrayLike | None = None
    masks: PackedRLEs | Sequence[Mapping[str, Any]] | None = None
    keypoints: ArrayLike | None = None


def checked_places(
    name: str, objects: CocoGroundTruths | CocoDetections, num_categories: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image and category of each object."""
    images = integers(f"{name}.images", objects.images, None)
    categories = integers(f"{name}.categories", objects.categories, len(images))
    outside = np.flatnonzero((categories < 0) | (categories >= num_categories))
    if len(outside):
        first = int(outside[0])
        raise ValueError(
            f"{name}.categories[{first}] is {categories[first]}, outside 0 … {num_categories - 1}"
        )
    return images, categories


def numbered_from_0(
    *images: NDArray[np.int64],
) -> tuple[list[NDArray[np.int64]], int]:
    """Small image numbers in the same order, from 0, and how many."""
    present = [numbers for numbers in images if len(numbers)]
    if not present:
        return [*images], 0
    least = min(int(numbers.min()) for numbers in present)
    count = max(int(numbers.max()) for numbers in present) - least + 1
    if count <= _SPARE_IMAGES + sum(map(len, images)):
        return [numbers - least if least else numbers for numbers in images], count
    distinct, inverse = np.unique(np.concatenate(images), return_inverse=True)
    ends = np.cumsum([len(numbers) for numbers in images])[:-1]
    return [*map(np.ascontiguousarray, np.split(inverse.astype(np.int64), ends))], len(distinct)


def checked_masks(name: str, objects: CocoGroundTruths | CocoDetections, count: int) -> PackedRLEs:
    """The masks of all objects, packed."""
    masks = objects.masks
    if masks is None:
        raise ValueError(f"{name}.masks is needed for this task, got None")
    if not isinstance(masks, PackedRLEs):
        masks = pack_rles(masks)
    return checked_packed_rles(f"{name}.masks", masks, count)


def checked_keypoints(
    name: str, objects: CocoGroundTruths | CocoDetections, count: int, points: int
) -> NDArray[np.float64]:
    """The keypoints of all objects, (count, points, 3)."""
    array = None if objects.keypoints is None else np.asarray(objects.keypoints)
    if array is not None and array.shape == (count, points, 3):
        return floats(f"{name}.keypoints", array, (count, points, 3))
    return floats(f"{name}.keypoints", array, (count, 3 * points)).reshape(count, points, 3)
