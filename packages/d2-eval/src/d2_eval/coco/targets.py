"""What a task compares with, where annotations lack it: objects that no prediction matches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.settings import CocoSettings
from d2_ops.host import rle_compress


def completed(
    truth: CocoGroundTruth, annotations: Iterable[dict[str, Any]], settings: CocoSettings
) -> list[dict[str, Any]]:
    """Return annotations with what a task compares.

    Args:
        truth: where they are from; left as it is.
        annotations: some or all of its annotations; those that lack nothing are returned
            themselves, of others changed copies.
        settings: with ``"keypoints"``, objects without keypoints get unlabelled ones; with
            ``"segm"`` and ``"boundary"``, objects without a segmentation an empty mask.

    Raises:
        ValueError: if an annotation has another number of keypoints, or the size of an annotated
            image is unknown, in which no mask can be drawn.
    """
    if settings.task == "keypoints":
        count = len(settings.keypoint_sigmas)
        return [_with_keypoints(truth, annotation, count) for annotation in annotations]
    if settings.task in ("segm", "boundary"):
        return [_with_mask(truth, annotation) for annotation in annotations]
    return list(annotations)


def _with_keypoints(
    truth: CocoGroundTruth, annotation: dict[str, Any], count: int
) -> dict[str, Any]:
    points = annotation.get("keypoints")
    if points is None:
        return {**annotation, "keypoints": [0] * (3 * count), "num_keypoints": 0}
    if len(points) != 3 * count:
        raise ValueError(
            f"{truth.name!r}: annotation id {annotation['id']!r} of image "
            f"{annotation['image_id']!r} has {len(points) // 3} keypoints, others have "
            f"{count}; evaluate objects with other keypoints from a file of their own"
        )
    if "num_keypoints" in annotation:
        return annotation
    return {**annotation, "num_keypoints": sum(v > 0 for v in points[2::3])}


def _with_mask(truth: CocoGroundTruth, annotation: dict[str, Any]) -> dict[str, Any]:
    if isinstance(annotation.get("segmentation"), dict):
        return annotation
    image = truth.coco.imgs[annotation["image_id"]]
    if image.get("height") is None or image.get("width") is None:
        raise ValueError(
            f"{truth.name!r}: image {image['id']!r} has no 'height' and 'width', which masks "
            "are drawn in; add them to the annotation file"
        )
    if "segmentation" in annotation:
        return annotation
    size = [image["height"], image["width"]]
    empty = {"size": size, "counts": [size[0] * size[1]]}
    return {**annotation, "segmentation": dict(rle_compress(empty))}
