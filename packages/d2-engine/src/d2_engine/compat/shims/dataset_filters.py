"""Filters by themselves; d2 applies them in ``get_detection_dataset_dicts``."""

from typing import Any


def filter_images_with_only_crowd_annotations(
    dataset_dicts: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The dicts with at least one annotation that is no crowd."""
    return [
        entry
        for entry in dataset_dicts
        if any(not annotation.get("iscrowd", 0) for annotation in entry["annotations"])
    ]


def filter_images_with_few_keypoints(
    dataset_dicts: list[dict[str, Any]], min_keypoints_per_image: int
) -> list[dict[str, Any]]:
    """The dicts with at least so many visible keypoints."""
    return [
        entry for entry in dataset_dicts if _visible_keypoints(entry) >= min_keypoints_per_image
    ]


def _visible_keypoints(entry: dict[str, Any]) -> int:
    return sum(
        sum(visibility > 0 for visibility in annotation["keypoints"][2::3])
        for annotation in entry["annotations"]
        if "keypoints" in annotation
    )
