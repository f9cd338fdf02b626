"""Do predictions in COCO's result format fit the annotations?"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.settings import FIELDS, Task
from d2_ops.host import rle_area


def check_results(truth: CocoGroundTruth, results: Sequence[dict[str, Any]], task: Task) -> None:
    """Look at every result before any is compared.

    Args:
        truth: the annotations.
        results: entries of COCO's result format.
        task: what is compared.

    Raises:
        ValueError: if one belongs to an unknown image or category, or a field is missing or no
            box, mask, keypoints or score; the message names it by its place.
    """
    field = FIELDS[task]
    categories = set(truth.coco.cats)
    for index, result in enumerate(results):
        for key in ("image_id", "category_id", "score", field):
            if key not in result:
                raise ValueError(
                    f"result {index} has no {key!r}, which {task} evaluation needs; it has "
                    f"{sorted(result)}. Add it to each result"
                )
        if not _is_among(result["image_id"], truth.coco.imgs):
            raise ValueError(
                f"result {index} has image_id {result['image_id']!r}, which {truth.name!r} does "
                f"not list (it has {len(truth.coco.imgs)} images, e.g. "
                f"{list(truth.coco.imgs)[:3]}); " + _remedy(result["image_id"], truth.coco.imgs)
            )
        if not _is_among(result["category_id"], categories):
            raise ValueError(
                f"result {index} has category_id {result['category_id']!r}, which {truth.name!r} "
                f"does not declare (declared: {list(truth.coco.cats)[:12]}…); "
                + _remedy(result["category_id"], categories)
            )
        if not _is_finite(result["score"]):
            raise ValueError(
                f"result {index} has the score {result['score']!r}, wanted a finite number"
            )
        if field == "segmentation":
            _check_mask_size(index, result, truth.coco.imgs[result["image_id"]])
        else:
            _check_numbers(index, task, result[field])
            if task == "keypoints" and len(result[field]) != len(results[0][field]):
                raise ValueError(
                    f"result {index} has {len(result[field]) // 3} keypoints, result 0 has "
                    f"{len(results[0][field]) // 3}"
                )


def name_bad_mask(results: Sequence[Mapping[str, Any]], error: ValueError) -> ValueError:
    """Return an error that names the result whose mask cannot be read; else the one given.

    Args:
        results: whose masks were to be compared.
        error: what came of it.
    """
    for index, result in enumerate(results):
        try:
            rle_area(result["segmentation"])
        except (ValueError, TypeError) as reason:
            return ValueError(
                f"result {index} has a mask that cannot be read: {reason}. Its counts are broken "
                "or cut short: write it again"
            )
    return error


def _is_among(identity: Any, known: Collection[Any]) -> bool:
    try:
        return identity in known
    except TypeError:  # a list or a dict is no id
        return False


def _remedy(identity: Any, known: Collection[Any]) -> str:
    alike = next((one for one in known if str(one) == str(identity)), None)
    if alike is not None:
        return f"write it as {alike!r}"
    return "predictions and annotations are of different datasets, or ids are the model's own"


def _is_finite(score: Any) -> bool:
    try:
        return math.isfinite(score)
    except TypeError:
        return False


_WANTED = {
    "bbox": "[x, y, width, height]",
    "rotated_bbox": "[centre x, centre y, width, height, degrees] or [x, y, width, height]",
    "keypoints": "[x1, y1, score1, x2, …]",
}


def _check_numbers(index: int, task: Task, values: Any) -> None:
    """Refuse what is no box, or no triples of keypoints."""
    try:
        total, count = sum(values), len(values)
        fits = {"bbox": count == 4, "rotated_bbox": count in (4, 5)}.get(task, count % 3 == 0)
        if fits and total - total == 0:
            return
    except TypeError:
        pass
    raise ValueError(
        f"result {index} has the {FIELDS[task]} {values!r:.200}; wanted {_WANTED[task]}, finite "
        "numbers"
    )


def _check_mask_size(index: int, result: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    segmentation = result["segmentation"]
    if not isinstance(segmentation, Mapping) or not {"size", "counts"} <= segmentation.keys():
        got = (
            f"with {sorted(segmentation)}"
            if isinstance(segmentation, Mapping)
            else f"of type {type(segmentation).__name__}"
        )
        raise ValueError(
            f"result {index} has a segmentation {got}; results hold masks as run lengths: "
            '{"size": [height, width], "counts": …}'
        )
    size = list(segmentation["size"])
    wanted = [image.get("height", size[0]), image.get("width", size[1])]
    if size != wanted:
        raise ValueError(
            f"result {index} has a mask of {size[0]} x {size[1]} pixels, but image "
            f"{result['image_id']!r} has {wanted[0]} x {wanted[1]}"
        )
