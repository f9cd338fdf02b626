"""YOLO folders: a text file of fractions per image, and ``data.yaml``."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from d2_config.files import write_atomically
from d2_data.annotations import normalized_record
from d2_data.conversion.joined_polygons import joined_polygon
from d2_data.conversion.splits import Split
from d2_data.formats import mask_polygons
from d2_data.rotated_corners import rotated_corners
from d2_ops.host import rle_decode
from d2_structures import BoxMode

__all__ = ["YOLO_TASKS", "describe_yolo", "write_yolo", "yolo_task"]

YOLO_TASKS = ("detect", "segment", "pose", "obb")

ImageSize = tuple[int, int]


def yolo_task(splits: Sequence[Split]) -> str:
    """What the annotations are good for: rotated boxes, keypoints, masks, or else boxes."""
    has = Counter[str]()
    for annotation in (a for split in splits for r in split.records for a in r["annotations"]):
        if annotation.get("bbox_mode") == BoxMode.XYWHA_ABS:
            return "obb"
        for key, task in (("keypoints", "pose"), ("segmentation", "segment")):
            value = annotation.get(key)
            has[task] += value is not None and len(value) > 0
    return "pose" if has["pose"] else "segment" if has["segment"] else "detect"


def describe_yolo(folder: Path, splits: Sequence[Split], task: str) -> None:
    """Write ``data.yaml``. It names no folder of its own, so the dataset may be moved.

    Raises:
        ValueError: if keypoints are to be written, and the metadata does not name them.
    """
    first = splits[0]
    content: dict[str, Any] = {split.name: f"images/{split.name}" for split in splits}
    content["names"] = dict(enumerate(first.classes))
    if task == "pose":
        names = first.metadata.get("keypoint_names")
        if not names:
            raise ValueError(
                f"{first.metadata.name!r} has no 'keypoint_names' in its metadata; YOLO's "
                "description needs the number of keypoints. Set them, or choose another task"
            )
        content["kpt_shape"] = [len(names), 3]
        content["flip_idx"] = _flip_indices(names, first.metadata.get("keypoint_flip_map") or ())
        content["kpt_names"] = {number: list(names) for number in content["names"]}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_atomically(folder / "data.yaml", text)


def write_yolo(folder: Path, split: Split, names: Sequence[str], task: str) -> Counter[str]:
    """Write the label files of a split.

    Args:
        folder: of the dataset.
        split: what to write.
        names: of its images below ``images/{split}``.
        task: one of ``YOLO_TASKS``.

    Returns:
        What the format cannot hold, counted. Crowds, and objects outside of their image, are left
        out; boxes and outlines are cut at the image's edge, as the format wants it. An object of
        several polygons becomes one whose parts are joined by lines.
    """
    lost: Counter[str] = Counter()
    for record, name in zip(split.records, names, strict=True):
        normal = normalized_record(dict(record))
        size = normal["height"], normal["width"]
        lines = [
            f"{annotation['category_id']} {' '.join(f'{number:.9g}' for number in numbers)}\n"
            for annotation in normal.get("annotations", ())
            for numbers in _row(annotation, size, task, split, lost)
        ]
        file = (folder / "labels" / split.name / name).with_suffix(".txt")
        write_atomically(file, "".join(lines))
    return lost


def _row(
    annotation: Mapping[str, Any], size: ImageSize, task: str, split: Split, lost: Counter[str]
) -> Iterator[list[float]]:
    """The numbers behind the class; nothing if the object is left out."""
    if annotation.get("iscrowd"):
        lost["crowds left out"] += 1
        return
    scale = np.array([size[1], size[0]], dtype=np.float64)
    upright = _upright(annotation, size)
    low, high = upright.reshape(2, 2).clip(0, scale)
    if (high <= low).any():
        lost["boxes without an inside in their image left out"] += 1
        return
    lost["boxes cut at the image's edge"] += not np.array_equal([*low, *high], upright)
    for key, holder in (("segmentation", "segment"), ("keypoints", "pose")):
        lost[f"{key} left out"] += key in annotation and task != holder
    box = [*((low + high) / 2 / scale).tolist(), *((high - low) / scale).tolist()]
    if task == "detect":
        lost["rotated boxes made upright"] += annotation["bbox_mode"] == BoxMode.XYWHA_ABS
        yield box
    elif task == "pose":
        yield box + _keypoints(annotation.get("keypoints"), split, scale)
    else:
        outline = _corners(annotation, size) if task == "obb" else _outline(annotation, size, lost)
        yield (outline.clip(0, scale) / scale).reshape(-1).tolist()


def _upright(annotation: Mapping[str, Any], size: ImageSize) -> np.ndarray:
    box = list(annotation["bbox"])
    mode = annotation["bbox_mode"]
    return np.array(BoxMode.convert(box, mode, BoxMode.XYXY_ABS, image_size=size), np.float64)


def _keypoints(keypoints: Any, split: Split, scale: np.ndarray) -> list[float]:
    count = len(split.metadata.get("keypoint_names") or ())
    if keypoints is None:
        return [0.0] * (3 * count)
    points = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    if len(points) != count:
        raise ValueError(
            f"an object of split {split.name!r} has {len(points)} keypoints, the metadata names "
            f"{count}; correct 'keypoint_names'"
        )
    points[:, :2] = points[:, :2].clip(0, scale) / scale
    points[points[:, 2] == 0] = 0
    return points.reshape(-1).tolist()


def _corners(annotation: Mapping[str, Any], size: ImageSize) -> np.ndarray:
    """(4, 2) corners of a box in pixels."""
    mode = annotation["bbox_mode"]
    return rotated_corners(
        BoxMode.convert(list(annotation["bbox"]), mode, BoxMode.XYWHA_ABS, image_size=size)
    )


def _outline(annotation: Mapping[str, Any], size: ImageSize, lost: Counter[str]) -> np.ndarray:
    """(N, 2) corners of one polygon."""
    segmentation = annotation.get("segmentation")
    if segmentation is None:
        lost["boxes written as outlines"] += 1
        left, top, right, bottom = _upright(annotation, size)
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if isinstance(segmentation, Mapping):
        polygons: Sequence[Sequence[float]] = mask_polygons(rle_decode(segmentation))
        lost["masks written as outlines of their pixels"] += 1
    else:
        polygons = segmentation
    lost["outlines of several parts joined by lines"] += len(polygons) > 1
    return joined_polygon([np.array(p, dtype=np.float64).reshape(-1, 2) for p in polygons])


def _flip_indices(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[int]:
    partner = dict(pairs) | {right: left for left, right in pairs}
    return [list(names).index(partner.get(name, name)) for name in names]
