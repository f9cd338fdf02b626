"""Do predictions in COCO's result format fit the annotations?"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.result_arrays import (
    column_of,
    ids_array,
    known_numbers,
    places_of,
    results_count,
)
from d2_eval.coco.settings import FIELDS, Task
from d2_ops.host import CocoResults, PackedRLEs, pack_rles, rle_area, unpack_rles


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


def check_results(truth: CocoGroundTruth, results: CocoResults, task: Task) -> None:
    """Look at all predictions before any is compared.

    Args:
        truth: the annotations.
        results: the predictions.
        task: what is compared.

    Raises:
        ValueError: if one belongs to an unknown image or category, what is compared is missing or
            no box, mask or keypoints, or a number is not finite; the message names the first such
            result by its place.
    """
    if results_count(results) == 0:
        return
    compared = column_of(results, task)
    if compared is None:
        had = [name for name, value in results._asdict().items() if value is not None]
        raise ValueError(
            f"result 0 has no {FIELDS[task]!r}, which {task} evaluation needs; there are {had}. "
            "Add it to each result"
        )
    images = places_of(results.images, known_numbers(truth.coco.imgs))
    _check_known("image_id", results.images, images, truth.coco.imgs, _listing(truth))
    categories = places_of(results.categories, known_numbers(truth.coco.cats))
    _check_known("category_id", results.categories, categories, truth.coco.cats, _declaring(truth))
    wrong = np.flatnonzero(~np.isfinite(results.scores))
    if wrong.size:
        score = results.scores[wrong[0]].item()
        raise ValueError(f"result {wrong[0]} has the score {score!r}, wanted a finite number")
    if isinstance(compared, PackedRLEs):
        _check_mask_sizes(truth, results, images, compared)
    else:
        _check_rows(compared, task)


def name_bad_mask(results: CocoResults, error: ValueError) -> ValueError:
    """Return an error that names the result whose mask cannot be read; else the one given.

    Args:
        results: whose masks were to be compared.
        error: what came of it.
    """
    masks = [] if results.masks is None else unpack_rles(results.masks)
    return _named(masks) or error


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


def _boxes(entries: Sequence[Mapping[str, Any]], task: Task) -> np.ndarray:
    rows = [entry["bbox"] for entry in entries]
    if task != "rotated_bbox" or all(len(row) == 5 for row in rows):
        return np.array(rows, np.float64).reshape(len(rows), -1 if rows else 4)
    return rotated_boxes(rows)


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


def _packed(entries: Sequence[Mapping[str, Any]]) -> PackedRLEs:
    masks = [entry["segmentation"] for entry in entries]
    try:
        return pack_rles(masks)
    except (ValueError, TypeError, KeyError) as error:
        named = _named(masks)
        if named is None:
            raise
        raise named from error


def _named(masks: Sequence[Any]) -> ValueError | None:
    """What names the first mask that cannot be read."""
    for index, mask in enumerate(masks):
        try:
            rle_area(mask)
        except (ValueError, TypeError) as reason:
            return ValueError(
                f"result {index} has a mask that cannot be read: {reason}. Its counts are broken "
                "or cut short: write it again"
            )
    return None


def _check_known(
    key: str, ids: np.ndarray, places: np.ndarray, known: Collection[Any], lacking: str
) -> None:
    wrong = np.flatnonzero(places < 0)
    if wrong.size == 0:
        return
    identity = _plain(ids[wrong[0]])
    alike = next((one for one in known if str(one) == str(identity)), None)
    remedy = (
        "predictions and annotations are of different datasets, or ids are the model's own"
        if alike is None
        else f"write it as {alike!r}"
    )
    raise ValueError(f"result {wrong[0]} has {key} {identity!r}, which {lacking}; {remedy}")


def _plain(identity: Any) -> Any:
    return identity.item() if isinstance(identity, np.generic) else identity


def _listing(truth: CocoGroundTruth) -> str:
    images = truth.coco.imgs
    return f"{truth.name!r} does not list (it has {len(images)} images, e.g. {list(images)[:3]})"


def _declaring(truth: CocoGroundTruth) -> str:
    return f"{truth.name!r} does not declare (declared: {list(truth.coco.cats)[:12]}…)"


def _is_finite(score: Any) -> bool:
    try:
        return math.isfinite(score)
    except TypeError:
        return False


_WANTED: Mapping[str, str] = {
    "bbox": "[x, y, width, height]",
    "rotated_bbox": "[centre x, centre y, width, height, degrees] or [x, y, width, height]",
    "keypoints": "[x1, y1, score1, x2, …]",
}


def _fits(count: int, task: Task) -> bool:
    return {"bbox": count == 4, "rotated_bbox": count in (4, 5)}.get(task, count % 3 == 0)


def _refuse_numbers(index: int, task: Task, values: Any) -> None:
    raise ValueError(
        f"result {index} has the {FIELDS[task]} {values!r:.200}; wanted {_WANTED[task]}, finite "
        "numbers"
    )


def _check_numbers(index: int, task: Task, values: Any) -> None:
    """Refuse what is no box, or no triples of keypoints."""
    try:
        total, count = sum(values), len(values)
        if _fits(count, task) and total - total == 0:
            return
    except TypeError:
        pass
    _refuse_numbers(index, task, values)


def _check_rows(rows: np.ndarray, task: Task) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size or not _fits(rows.shape[1], task):
        index = int(wrong[0]) if wrong.size else 0
        _refuse_numbers(
            index, task, [int(one) if one % 1 == 0 else one for one in rows[index].tolist()]
        )


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


def _check_mask_sizes(
    truth: CocoGroundTruth, results: CocoResults, images: np.ndarray, masks: PackedRLEs
) -> None:
    """Refuse masks of another size than their image, where that is known."""
    sizes = [(image.get("height"), image.get("width")) for image in truth.coco.imgs.values()]
    known = np.array([[-1 if side is None else side for side in size] for size in sizes], np.int64)
    wanted = known[images]
    wrong = np.flatnonzero(((masks.sizes != wanted) & (wanted >= 0)).any(axis=1))
    if wrong.size:
        index = int(wrong[0])
        got, size = masks.sizes[index].tolist(), wanted[index].tolist()
        size = [side if side >= 0 else has for side, has in zip(size, got, strict=True)]
        raise ValueError(
            f"result {index} has a mask of {got[0]} x {got[1]} pixels, but image "
            f"{_plain(results.images[index])!r} has {size[0]} x {size[1]}"
        )
