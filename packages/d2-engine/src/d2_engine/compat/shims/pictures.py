"""Parts of drawing that projects take from inside of detectron2's visualizer."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from d2_ops.host import mask_bounding_boxes, polygons_to_bitmask, rle_decode


def _create_text_labels(
    classes: Sequence[int] | None,
    scores: Any,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[bool] | None = None,
) -> list[str] | None:
    """Labels such as ``"person 95%"``; None if nothing is known."""
    labels: list[str] | None = None
    if classes is not None:
        names = class_names or []
        labels = [str(names[i]) if i < len(names) else str(i) for i in map(int, classes)]
    if scores is not None:
        texts = [f"{float(score) * 100:.0f}%" for score in scores]
        labels = (
            texts if labels is None else [f"{n} {s}" for n, s in zip(labels, texts, strict=True)]
        )
    if labels is not None and is_crowd is not None:
        marks = ["|crowd" if crowd else "" for crowd in is_crowd]
        labels = [label + mark for label, mark in zip(labels, marks, strict=True)]
    return labels


class GenericMask:
    """A mask given as polygons, as RLE or as an array, and what it is in the other forms.

    Args:
        mask_or_polygons: an RLE dict, a list of flat polygons, or an (H, W) array.
        height, width: size of the image.

    Attributes:
        mask: (H, W) uint8.
        polygons: flat arrays of corners.
    """

    def __init__(self, mask_or_polygons: Any, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._mask: Any = None
        self._polygons: list[Any] | None = None
        self._has_holes: bool | None = None
        given = mask_or_polygons
        if isinstance(given, dict):
            self._mask = rle_decode(given).astype(np.uint8)
        elif isinstance(given, list):
            self._polygons = [np.asarray(p, np.float64).reshape(-1) for p in given]
            self._has_holes = False
        elif isinstance(given, np.ndarray):
            if given.shape != (height, width):
                raise ValueError(f"mask of shape {given.shape}, the image is {(height, width)}")
            self._mask = given.astype(np.uint8)
        else:
            raise TypeError(f"GenericMask wants polygons, RLE or an array, got {type(given)}")

    @property
    def mask(self) -> Any:
        """(H, W) uint8."""
        if self._mask is None:
            self._mask = self.polygons_to_mask(self._polygons)
        return self._mask

    @property
    def polygons(self) -> Any:
        """Flat arrays of the corners of its outlines."""
        if self._polygons is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self._mask)
        return self._polygons

    @property
    def has_holes(self) -> bool:
        """Whether the outlines leave out something within."""
        if self._has_holes is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self._mask)
        return self._has_holes

    def mask_to_polygons(self, mask: Any) -> tuple[list[Any], bool]:
        """Outlines of an array, and whether it has holes."""
        from d2_data.formats import mask_polygons

        polygons = [np.asarray(p, np.float64).reshape(-1) for p in mask_polygons(mask != 0)]
        filled = self.polygons_to_mask(polygons)
        return polygons, bool(filled.sum() > (mask != 0).sum())

    def polygons_to_mask(self, polygons: Any) -> Any:
        """(H, W) uint8 of polygons."""
        if not polygons:
            return np.zeros((self.height, self.width), np.uint8)
        return polygons_to_bitmask(polygons, self.height, self.width).astype(np.uint8)

    def area(self) -> int:
        """Number of its pixels."""
        return int(self.mask.sum())

    def bbox(self) -> Any:
        """(4,) x0, y0, x1, y1."""
        x, y, width, height = mask_bounding_boxes(self.mask[None] != 0)[0]
        return np.array([x, y, x + width, y + height])


class _PanopticPrediction:
    """A panoptic map and its segments, taken apart into materials and objects."""

    def __init__(self, panoptic_seg: Any, segments_info: Any, metadata: Any = None) -> None:
        self._seg = np.asarray(panoptic_seg.cpu() if hasattr(panoptic_seg, "cpu") else panoptic_seg)
        if segments_info is None:
            segments_info = self._segments_of_ids(metadata)
        self._sinfo = {segment["id"]: segment for segment in segments_info}

    def _segments_of_ids(self, metadata: Any) -> list[dict[str, Any]]:
        divisor = metadata.label_divisor
        things = metadata.thing_dataset_id_to_contiguous_id.values()
        numbers = [int(number) for number in np.unique(self._seg) if number != -1]
        return [
            {
                "id": number,
                "category_id": number // divisor,
                "isthing": number // divisor in things,
                "area": int((self._seg == number).sum()),
            }
            for number in numbers
        ]

    def non_empty_mask(self) -> Any:
        """(H, W) bool: where there is a segment that is described."""
        return np.isin(self._seg, [*self._sinfo])

    def semantic_masks(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Mask and description of each material, the largest first."""
        return self._masks(of_things=False)

    def instance_masks(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Mask and description of each object, the largest first."""
        return self._masks(of_things=True)

    def _masks(self, *, of_things: bool) -> Iterator[tuple[Any, dict[str, Any]]]:
        masks = [
            (self._seg == number, segment)
            for number, segment in self._sinfo.items()
            if bool(segment["isthing"]) == of_things
        ]
        for mask, segment in sorted(masks, key=lambda pair: -int(pair[0].sum())):
            if mask.any():
                yield mask, segment


class _DetectedInstance:
    """An object of a frame that the colours of the next one go by."""

    __slots__ = ["bbox", "color", "label", "mask_rle", "ttl"]

    def __init__(self, label: int, bbox: Any, mask_rle: Any, color: Any, ttl: int) -> None:
        self.label = label
        self.bbox = bbox
        self.mask_rle = mask_rle
        self.color = color
        self.ttl = ttl
