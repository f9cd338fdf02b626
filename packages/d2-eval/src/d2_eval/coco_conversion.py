"""Turn a registered dataset in the standard format into COCO annotations."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from d2_config.atomic_file import write_atomically
from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_ops.host import polygons_to_rle, rle_area
from d2_structures import BoxMode


def convert_to_coco_json(
    dataset_name: str, output_file: str | os.PathLike[str], allow_cached: bool = True
) -> None:
    """Write a registered dataset as a COCO annotation file.

    Args:
        dataset_name: a name from the catalogs.
        output_file: the file to write; folders are made.
        allow_cached: whether an existing file is left as it is.
    """
    if allow_cached and os.path.exists(output_file):
        return
    write_atomically(output_file, json.dumps(convert_to_coco_dict(dataset_name)))


def convert_to_coco_dict(dataset_name: str, metadata: Metadata | None = None) -> dict[str, Any]:
    """Convert a registered dataset to the content of a COCO annotation file.

    Boxes become XYWH; keypoints become pixel indices (−0.5); the area is that of the mask in
    pixels, or of the box where there is no mask.

    Args:
        dataset_name: a name from the catalogs.
        metadata: in place of the catalog's.

    Raises:
        ValueError: if the metadata has no ``thing_classes``, or a class id is out of range.
    """
    metadata = metadata or MetadataCatalog.get(dataset_name)
    class_names = metadata.get("thing_classes")
    if not class_names:
        raise ValueError(
            f"dataset {dataset_name!r} has no 'thing_classes' in its metadata; set "
            f"MetadataCatalog.get({dataset_name!r}).thing_classes"
        )
    mapping = metadata.get("thing_dataset_id_to_contiguous_id") or {
        index: index for index in range(len(class_names))
    }
    category_ids = {contiguous: category for category, contiguous in mapping.items()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, record in enumerate(DatasetCatalog.get(dataset_name)):
        image_id = record.get("image_id", index)
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for instance in record.get("annotations", ()):
            where = f"dataset {dataset_name!r}, image {image_id!r}"
            entry = _annotation(instance, record["height"], record["width"], where)
            if instance["category_id"] not in category_ids:
                raise ValueError(
                    f"{where}: category_id {instance['category_id']!r} is not in "
                    f"0..{len(class_names) - 1}, the range of its {len(class_names)} thing_classes"
                )
            entry["category_id"] = category_ids[instance["category_id"]]
            entry["image_id"] = image_id
            entry["id"] = len(annotations) + 1
            annotations.append(entry)
    return {
        "info": {"description": f"{dataset_name} in COCO's format"},
        "licenses": [],
        "images": images,
        "categories": [
            {"id": category_ids[index], "name": name} for index, name in enumerate(class_names)
        ],
        "annotations": annotations,
    }


def _annotation(instance: dict[str, Any], height: int, width: int, where: str) -> dict[str, Any]:
    box = BoxMode.convert(list(instance["bbox"]), BoxMode(instance["bbox_mode"]), BoxMode.XYWH_ABS)
    entry: dict[str, Any] = {
        "bbox": [round(float(value), 3) for value in box],
        "iscrowd": int(instance.get("iscrowd", 0)),
        "area": float(box[2] * box[3]),
    }
    segmentation = instance.get("segmentation")
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        entry["area"] = float(rle_area(segmentation))
        entry["segmentation"] = {
            "size": list(segmentation["size"]),
            "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
        }
    elif segmentation:
        polygons = [np.asarray(polygon, dtype=np.float64) for polygon in segmentation]
        entry["area"] = float(rle_area(polygons_to_rle(polygons, height, width)))
        entry["segmentation"] = [polygon.tolist() for polygon in polygons]
    keypoints = instance.get("keypoints")
    if keypoints:
        points = np.asarray(keypoints, dtype=np.float64)
        if points.size % 3:
            raise ValueError(
                f"{where}: keypoints are triples (x, y, visibility), got {points.size} values"
            )
        points = points.reshape(-1, 3)
        points[:, :2] -= 0.5
        entry["keypoints"] = points.reshape(-1).tolist()
        entry["num_keypoints"] = int(np.count_nonzero(points[:, 2] > 0))
    return entry
