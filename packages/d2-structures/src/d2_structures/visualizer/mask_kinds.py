"""Every documented kind of mask, read into two: pixels within a rectangle, or polygons."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from d2_ops.host import mask_bounding_boxes, rle_decode

__all__ = [
    "BinaryMask",
    "InstanceMask",
    "PolygonMask",
    "crop_to_content",
    "read_masks",
    "read_polygon",
]


class BinaryMask(NamedTuple):
    """The part of a binary mask that holds all its set pixels."""

    x0: int
    y0: int
    pixels: NDArray[np.bool_]
    """(h, w), h or w may be 0."""


class PolygonMask(NamedTuple):
    """The polygons of one instance, each (P, 2) float64 corners in continuous coordinates."""

    polygons: list[NDArray[np.float64]]


InstanceMask = BinaryMask | PolygonMask


def read_masks(masks: Any, height: int, width: int) -> list[InstanceMask]:
    """Read the masks of one image.

    Args:
        masks: ``BitMasks``, ``PolygonMasks``, an (N, H, W) tensor or array, or a sequence with
            one item per instance: an (H, W) array or tensor, a COCO RLE dict, or a list of
            polygons (flat coordinate lists or arrays).
        height, width: size of the image, which binary masks must have.

    Raises:
        TypeError: if an item is of none of these kinds.
        ValueError: if a mask has another size, or a polygon fewer than three corners.
    """
    polygons = getattr(masks, "polygons", None)
    if polygons is not None:
        return [PolygonMask([read_polygon(p) for p in instance]) for instance in polygons]
    tensor = getattr(masks, "tensor", masks)
    if isinstance(tensor, (torch.Tensor, np.ndarray)):
        return _read_stack(_as_bool(tensor), height, width)
    if isinstance(masks, (str, bytes)) or not isinstance(masks, Iterable):
        raise TypeError(f"cannot draw masks of type {type(masks).__name__}")
    return [_read_one(mask, height, width) for mask in masks]


def crop_to_content(mask: NDArray[np.bool_]) -> BinaryMask:
    """Cut an (H, W) mask down to the rectangle of its set pixels."""
    return _crop_each(mask[None])[0]


def _read_stack(stack: NDArray[np.bool_], height: int, width: int) -> list[InstanceMask]:
    if stack.shape[1:] != (height, width):
        raise ValueError(
            f"masks have shape {stack.shape}, the image needs (N, {height}, {width})"
            + ("; paste them into the image first" if stack.ndim == 4 else "")
        )
    return [*_crop_each(stack)]


def _crop_each(stack: NDArray[np.bool_]) -> list[BinaryMask]:
    boxes = mask_bounding_boxes(stack).astype(int).tolist()
    return [
        BinaryMask(x, y, mask[y : y + height, x : x + width])
        for mask, (x, y, width, height) in zip(stack, boxes, strict=True)
    ]


def _read_one(mask: Any, height: int, width: int) -> InstanceMask:
    if isinstance(mask, dict):
        if not {"size", "counts"} <= mask.keys():
            raise ValueError(f"an RLE mask needs 'size' and 'counts', got keys {sorted(mask)}")
        mask = rle_decode(mask)
    if isinstance(mask, (torch.Tensor, np.ndarray)) and mask.ndim == 2:
        if tuple(mask.shape) != (height, width):
            raise ValueError(f"a mask has shape {tuple(mask.shape)}, the image {height, width}")
        return crop_to_content(np.ascontiguousarray(_as_bool(mask)))
    if isinstance(mask, Sequence) and not isinstance(mask, (str, bytes)):
        return PolygonMask([read_polygon(polygon) for polygon in mask])
    shape = f" of shape {tuple(mask.shape)}" if hasattr(mask, "shape") else ""
    raise TypeError(
        f"cannot draw a mask of type {type(mask).__name__}{shape}; wanted an (H, W) array, "
        "an RLE dict or a list of polygons"
    )


def read_polygon(polygon: Any) -> NDArray[np.float64]:
    """(P, 2) corners of a polygon given as [x0, y0, x1, y1, ...] or as (P, 2).

    Raises:
        ValueError: if there are fewer than three corners, half a corner, or NaN or infinity.
    """
    flat = np.asarray(polygon, dtype=np.float64).reshape(-1)
    if flat.size < 6 or flat.size % 2:
        raise ValueError(
            f"a polygon needs an even number of at least 6 coordinates, got {flat.size}"
        )
    if not np.isfinite(flat).all():
        raise ValueError("a polygon holds NaN or infinite coordinates")
    return flat.reshape(-1, 2)


def _as_bool(mask: torch.Tensor | NDArray[Any]) -> NDArray[np.bool_]:
    """Set where a bool or integer mask is not 0, or a mask of probabilities is above 0.5."""
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else mask
    if array.dtype == np.bool_:
        return np.ascontiguousarray(array)
    return np.asarray(array > 0.5) if array.dtype.kind == "f" else np.asarray(array != 0)
