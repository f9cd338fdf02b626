"""Do predictions in COCO's result format fit the annotations?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.result_arrays import (
    column_of,
    known_numbers,
    places_of,
    results_count,
)
from d2_eval.coco.settings import FIELDS, Task
from d2_ops.host import CocoResults, PackedRLEs, rle_area, unpack_rles

_IN_FILES: Mapping[str, str] = {
    "images": "image_id",
    "categories": "category_id",
    "scores": "score",
    "boxes": "bbox",
    "masks": "segmentation",
    "keypoints": "keypoints",
}
"""Columns, and what files call them."""


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
        had = [_IN_FILES[name] for name, value in results._asdict().items() if value is not None]
        raise ValueError(
            f"result 0 has no {FIELDS[task]!r}, which {task} evaluation needs; there are {had}. "
            "Add it to each result, or choose another task"
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


def bad_mask(results: CocoResults) -> ValueError | None:
    """Return an error that names the result whose mask cannot be read; None where all can.

    Args:
        results: whose masks were to be compared.
    """
    return named_bad_mask([] if results.masks is None else unpack_rles(results.masks))


def named_bad_mask(masks: Sequence[Any]) -> ValueError | None:
    """Return an error that names the first mask that cannot be read; None where all can.

    Args:
        masks: of the results, in their order.
    """
    for index, mask in enumerate(masks):
        try:
            rle_area(mask)
        except (ValueError, TypeError) as reason:
            return ValueError(
                f"result {index} has a mask that cannot be read: "
                f"{str(reason).removeprefix('rle[0]: ')}. Its counts are broken or cut short: "
                "write it again"
            )
    return None


_WANTED: Mapping[str, str] = {
    "bbox": "[x, y, width, height]",
    "rotated_bbox": "[centre x, centre y, width, height, degrees] or [x, y, width, height]",
    "keypoints": "[x1, y1, score1, x2, …]",
}


def fits(count: int, task: Task) -> bool:
    """Return whether a box, or keypoints, of a task have so many numbers."""
    return {"bbox": count == 4, "rotated_bbox": count in (4, 5)}.get(task, count % 3 == 0)


def refuse_numbers(index: int, task: Task, values: Any) -> None:
    """Refuse what is no box, or no triples of keypoints.

    Args:
        index: the result's place.
        task: what is compared.
        values: what was given.

    Raises:
        ValueError: always, with the place and what is wanted.
    """
    raise ValueError(
        f"result {index} has the {FIELDS[task]} {values!r:.200}; wanted {_WANTED[task]}, finite "
        "numbers"
    )


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


def _check_rows(rows: np.ndarray, task: Task) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size or not fits(rows.shape[1], task):
        index = int(wrong[0]) if wrong.size else 0
        refuse_numbers(
            index, task, [int(one) if one % 1 == 0 else one for one in rows[index].tolist()]
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
            f"{_plain(results.images[index])!r} has {size[0]} x {size[1]} (height x width); write "
            "masks in the size of their image"
        )
