"""What a task compares with, where annotations lack it: objects that no prediction matches."""

from __future__ import annotations

from d2_eval.coco_ground_truth import CocoGroundTruth
from d2_ops.host import rle_compress


def complete_keypoints(truth: CocoGroundTruth, count: int) -> None:
    """Give objects without keypoints the unlabelled ones that pycocotools expects.

    Args:
        truth: changed in place.
        count: keypoints of an object.

    Raises:
        ValueError: if an annotation has another number of keypoints.
    """
    for annotation in truth.coco.anns.values():
        points = annotation.setdefault("keypoints", [0] * (3 * count))
        if len(points) != 3 * count:
            raise ValueError(
                f"{truth.name!r}: annotation id {annotation['id']!r} of image "
                f"{annotation['image_id']!r} has {len(points) // 3} keypoints, others have "
                f"{count}; evaluate objects with other keypoints from a file of their own"
            )
        annotation.setdefault("num_keypoints", sum(v > 0 for v in points[2::3]))


def complete_masks(truth: CocoGroundTruth) -> None:
    """Give objects without a segmentation an empty mask.

    Args:
        truth: changed in place.

    Raises:
        ValueError: if the size of an annotated image is unknown, in which no mask can be drawn.
    """
    for annotation in truth.coco.anns.values():
        if isinstance(annotation.get("segmentation"), dict):
            continue
        image = truth.coco.imgs[annotation["image_id"]]
        if image.get("height") is None or image.get("width") is None:
            raise ValueError(
                f"{truth.name!r}: image {image['id']!r} has no 'height' and 'width', which masks "
                "are drawn in; add them to the annotation file"
            )
        if "segmentation" not in annotation:
            size = [image["height"], image["width"]]
            empty = {"size": size, "counts": [size[0] * size[1]]}
            annotation["segmentation"] = dict(rle_compress(empty))
