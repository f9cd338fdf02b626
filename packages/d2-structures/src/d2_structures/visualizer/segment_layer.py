"""Semantic and panoptic maps laid over an image, region by region."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .captions import class_name
from .colors import Color, color_from_bytes, jittered
from .palette import palette_color

__all__ = ["MapRegion", "category_color", "panoptic_regions", "semantic_regions"]


_COUNTABLE = 2**20


class MapRegion(NamedTuple):
    """One segment of a label map and how to show it."""

    mask: NDArray[np.bool_]
    """(H, W)."""
    color: Color
    text: str
    is_thing: bool


def category_color(class_id: int, colors: Sequence[Any] | None) -> Color:
    """The colour that metadata gives a class, or one of the palette."""
    if colors is not None and 0 <= class_id < len(colors):
        return color_from_bytes(colors[class_id])
    return palette_color(class_id)


def semantic_regions(sem_seg: NDArray[np.int64], metadata: Any) -> list[MapRegion]:
    """The classes of a semantic map, largest first.

    Values below 0, ``metadata.ignore_label`` (255 if not given) and values at or beyond the end
    of ``metadata.stuff_classes`` are no class.
    """
    names = getattr(metadata, "stuff_classes", None)
    colors = getattr(metadata, "stuff_colors", None)
    ignored = getattr(metadata, "ignore_label", 255)
    labels, areas = _values(sem_seg)
    known = (labels >= 0) & (labels != ignored)
    if names is not None:
        known &= labels < len(names)
    order = np.argsort(-areas[known], kind="stable")
    regions = []
    for label in labels[known][order].tolist():
        color, text = category_color(label, colors), class_name(label, names)
        regions.append(MapRegion(sem_seg == label, color, text, False))
    return regions


def panoptic_regions(
    panoptic_seg: NDArray[np.int64], segments_info: Sequence[dict[str, Any]] | None, metadata: Any
) -> list[MapRegion]:
    """The segments of a panoptic map: stuff first, then things, each largest first.

    Raises:
        ValueError: if ``segments_info`` is None and metadata has no ``label_divisor``, or a
            segment lacks ``id`` or ``category_id``.
    """
    if segments_info is None:
        segments_info = _segments_from_ids(panoptic_seg, metadata)
    regions = []
    for position, segment in enumerate(segments_info):
        missing = {"id", "category_id"} - segment.keys()
        if missing:
            raise ValueError(f"segments_info[{position}] lacks {sorted(missing)}: {segment}")
        mask = panoptic_seg == segment["id"]
        if mask.any():
            regions.append(_panoptic_region(mask, segment, position, metadata))
    return sorted(regions, key=lambda region: (region.is_thing, -int(region.mask.sum())))


def _panoptic_region(
    mask: NDArray[np.bool_], segment: dict[str, Any], position: int, metadata: Any
) -> MapRegion:
    kind = "thing" if segment.get("isthing", True) else "stuff"
    names = getattr(metadata, f"{kind}_classes", None)
    colors = getattr(metadata, f"{kind}_colors", None)
    category = int(segment["category_id"])
    text = class_name(category, names)
    if kind == "stuff":
        return MapRegion(mask, category_color(category, colors), text, False)
    if segment.get("score") is not None:
        text = f"{text} {float(segment['score']) * 100:.0f}%"
    if segment.get("iscrowd"):
        text = f"{text}|crowd"
    color = palette_color(position) if colors is None else category_color(category, colors)
    return MapRegion(mask, jittered(color, position), text, True)


def _segments_from_ids(panoptic_seg: NDArray[np.int64], metadata: Any) -> list[dict[str, Any]]:
    """Segments of a map whose values are category * label_divisor + instance; -1 is void."""
    divisor = getattr(metadata, "label_divisor", None)
    if not divisor:
        raise ValueError("segments_info is None: metadata needs 'label_divisor' to tell categories")
    things = set(getattr(metadata, "thing_dataset_id_to_contiguous_id", {}).values())
    return [
        {
            "id": int(value),
            "category_id": int(value) // divisor,
            "isthing": int(value) // divisor in things,
        }
        for value in _values(panoptic_seg)[0]
        if value != -1
    ]


def _values(label_map: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The values of a map in ascending order and how often each occurs, as `numpy.unique`.

    Labels mostly lie close together, and counting them is many times quicker than sorting.
    """
    if not label_map.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, high = int(label_map.min()), int(label_map.max())
    if high - low > _COUNTABLE:
        return np.unique(label_map, return_counts=True)
    counts = np.bincount((label_map - low).reshape(-1))
    present = np.flatnonzero(counts)
    return present + low, counts[present]
