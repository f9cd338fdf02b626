"""Predictions in COCO's result format: entries as columns, and columns as entries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2_eval.coco.result_arrays import ids_array
from d2_eval.coco.result_checks import fits, named_bad_mask, refuse_numbers
from d2_eval.coco.settings import FIELDS, Task
from d2_ops.host import CocoResults, PackedRLEs, pack_rles, unpack_rles


def results_of(
    entries: Sequence[Mapping[str, Any]], task: Task, *, boxes_too: bool = False
) -> CocoResults:
    """Return entries of COCO's result format as columns.

    Args:
        entries: the predictions.
        task: what is compared; other fields are left out, but what gives keypoints their area.
        boxes_too: whether boxes are wanted beside, if the first entry has one.

    Raises:
        ValueError: if a field is missing or is no box, mask, keypoints or score; the message names
            the result by its place.
    """
    field = FIELDS[task]
    for index, entry in enumerate(entries):
        _check_entry(index, entry, task, len(entries[0].get(field) or ()))
    first = entries[0] if entries else {}
    columns: dict[str, Any] = {}
    boxed = bool(first.get("bbox")) and (boxes_too or task == "keypoints")
    if field == "bbox" or boxed:
        if field != "bbox":
            for index, entry in enumerate(entries):
                _check_entry(index, entry, "bbox", 4)
        columns["boxes"] = _boxes(entries, task)
    if field == "segmentation" or (task == "keypoints" and not boxed and "segmentation" in first):
        columns["masks"] = _packed(entries)
    if field == "keypoints":
        points = np.array([entry[field] for entry in entries], np.float64)
        columns["keypoints"] = points.reshape(len(entries), -1) if entries else points[:, None]
    return CocoResults(
        ids_array([entry["image_id"] for entry in entries]),
        ids_array([entry["category_id"] for entry in entries]),
        np.array([entry["score"] for entry in entries], np.float64),
        **columns,
    )


def columns_of_entries(entries: Sequence[Mapping[str, Any]]) -> CocoResults:
    """Return entries as columns of everything that the first of them has.

    Raises:
        ValueError: see :func:`results_of`.
    """
    first = entries[0] if entries else {}
    columns = results_of(entries, "rotated_bbox" if len(first.get("bbox") or ()) == 5 else "bbox")
    masks = results_of(entries, "segm").masks if "segmentation" in first else None
    points = results_of(entries, "keypoints").keypoints if "keypoints" in first else None
    return columns._replace(masks=masks, keypoints=points)


def results_as_entries(results: CocoResults) -> list[dict[str, Any]]:
    """Return entries of COCO's result format, ready for JSON."""
    columns: dict[str, list[Any]] = {
        "image_id": results.images.tolist(),
        "category_id": results.categories.tolist(),
    }
    if results.boxes is not None:
        columns["bbox"] = results.boxes.tolist()
    if results.masks is not None:
        columns["segmentation"] = [
            {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
            for rle in unpack_rles(results.masks)
        ]
    if results.keypoints is not None:
        columns["keypoints"] = results.keypoints.tolist()
    columns["score"] = results.scores.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def rotated_boxes(boxes: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Return boxes with their angles.

    Args:
        boxes: of 5 numbers: centre x, centre y, width, height, degrees; or of 4: x, y, width,
            height.

    Returns:
        (N, 5) float64.
    """
    if isinstance(boxes, np.ndarray) and boxes.shape[1] == 5:
        return boxes
    rows = [
        box if len(box) == 5 else (box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3], 0.0)
        for box in boxes
    ]
    return np.array(rows, np.float64).reshape(-1, 5)


def _check_entry(index: int, entry: Mapping[str, Any], task: Task, length: int) -> None:
    field = FIELDS[task]
    for key in ("image_id", "category_id", "score", field):
        if key not in entry:
            raise ValueError(
                f"result {index} has no {key!r}, which {task} evaluation needs; it has "
                f"{sorted(entry)}. Add it to each result"
            )
    if not _is_finite(entry["score"]):
        raise ValueError(f"result {index} has the score {entry['score']!r}, wanted a finite number")
    if field == "segmentation":
        _check_mask(index, entry[field])
        return
    _check_numbers(index, task, entry[field])
    if task == "keypoints" and len(entry[field]) != length:
        raise ValueError(
            f"result {index} has {len(entry[field]) // 3} keypoints, result 0 has {length // 3}"
        )


def _is_finite(score: Any) -> bool:
    try:
        return math.isfinite(score)
    except TypeError:
        return False


def _check_numbers(index: int, task: Task, values: Any) -> None:
    """Refuse what is no box, or no triples of keypoints."""
    try:
        total, count = sum(values), len(values)
        if fits(count, task) and total - total == 0:
            return
    except TypeError:
        pass
    refuse_numbers(index, task, values)


def _check_mask(index: int, segmentation: Any) -> None:
    if isinstance(segmentation, Mapping) and {"size", "counts"} <= segmentation.keys():
        return
    got = (
        f"with {sorted(segmentation)}"
        if isinstance(segmentation, Mapping)
        else f"of type {type(segmentation).__name__}"
    )
    raise ValueError(
        f"result {index} has a segmentation {got}; results hold masks as run lengths: "
        '{"size": [height, width], "counts": …}'
    )


def _boxes(entries: Sequence[Mapping[str, Any]], task: Task) -> np.ndarray:
    rows = [entry["bbox"] for entry in entries]
    if task != "rotated_bbox" or all(len(row) == 5 for row in rows):
        return np.array(rows, np.float64).reshape(len(rows), -1 if rows else 4)
    return rotated_boxes(rows)


def _packed(entries: Sequence[Mapping[str, Any]]) -> PackedRLEs:
    masks = [entry["segmentation"] for entry in entries]
    try:
        return pack_rles(masks)
    except (ValueError, TypeError, KeyError) as error:
        named = named_bad_mask(masks)
        if named is None:
            raise
        raise named from error
