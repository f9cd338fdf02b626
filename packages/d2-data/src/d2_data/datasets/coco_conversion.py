"""Turn datasets in the standard format into COCO annotations."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from d2_data.annotations import plain_id
from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.formats import CocoFile, coco_annotation

__all__ = ["coco_file_of", "convert_to_coco_dict", "convert_to_coco_json"]


def convert_to_coco_json(
    dataset_name: str, output_file: str | os.PathLike[str], allow_cached: bool = True
) -> None:
    """Write a registered dataset as a COCO annotation file.

    Args:
        dataset_name: a name from the catalogs.
        output_file: the file to write; folders are made.
        allow_cached: whether an existing file is left as it is.

    Raises:
        ValueError: see :func:`convert_to_coco_dict`.
    """
    if allow_cached and os.path.exists(output_file):
        return
    _converted(dataset_name).write(output_file)


def convert_to_coco_dict(dataset_name: str, metadata: Metadata | None = None) -> dict[str, Any]:
    """Convert a registered dataset to the content of a COCO annotation file.

    Boxes become XYWH, rotated ones stay rotated: five numbers, as
    :func:`~d2_data.formats.coco_annotation` describes. Keypoints become pixel indices (−0.5); the
    area is that of the mask in pixels, or of the box where there is no mask. Categories get the
    ids of the dataset, and keypoints where the metadata names them.

    Args:
        dataset_name: a name from the catalogs.
        metadata: in place of the catalog's.

    Raises:
        ValueError: if the metadata has no ``thing_classes``, a class id is out of range, or an
            annotation cannot be read; the message names dataset, image and annotation.
    """
    return _converted(dataset_name, metadata).content()


def _converted(dataset_name: str, metadata: Metadata | None = None) -> CocoFile:
    records = DatasetCatalog.get(dataset_name)  # reading may fill the metadata
    metadata = metadata or MetadataCatalog.get(dataset_name)
    return coco_file_of(records, metadata, f"dataset {dataset_name!r}")


def coco_file_of(
    records: Iterable[Mapping[str, Any]],
    metadata: Metadata,
    where: str,
    image_root: str | os.PathLike[str] | None = None,
) -> CocoFile:
    """Convert dataset dicts.

    Args:
        records: in the standard format, with ``height`` and ``width``.
        metadata: with ``thing_classes``.
        where: names the dataset in errors.
        image_root: file names become relative to this folder; None leaves them as they are.

    Raises:
        ValueError: see :func:`convert_to_coco_dict`.
    """
    class_names = metadata.get("thing_classes")
    if not class_names:
        raise ValueError(
            f"{where} has no 'thing_classes' in its metadata; set "
            f"MetadataCatalog.get({metadata.name!r}).thing_classes"
        )
    category_ids = _category_ids(metadata, len(class_names))
    keypoints = _keypoint_entries(metadata)
    categories = [
        {"id": category_ids[index], "name": name} | keypoints
        for index, name in enumerate(class_names)
        if index in category_ids
    ]
    file = CocoFile(categories, {"description": f"{metadata.name} in COCO's format"})
    for index, record in enumerate(records):
        image_id = _add_image(file, record, index, image_root, where)
        size = int(record["height"]), int(record["width"])
        for number, annotation in enumerate(record.get("annotations", ())):
            named = f"{where}, image {image_id!r}, annotation {number}"
            category = _category(annotation, category_ids, len(class_names), named)
            file.add_annotation(image_id, category, coco_annotation(annotation, size, named))
    return file


def _category_ids(metadata: Metadata, num_classes: int) -> dict[int, int]:
    """The dataset's id of each class that has one."""
    mapping = metadata.get("thing_dataset_id_to_contiguous_id")
    if not mapping:
        return {index: index for index in range(num_classes)}
    return {contiguous: category for category, contiguous in mapping.items()}


def _keypoint_entries(metadata: Metadata) -> dict[str, Any]:
    """What a category says of its keypoints."""
    names = metadata.get("keypoint_names")
    if not names:
        return {}
    rules = metadata.get("keypoint_connection_rules") or ()
    number = {name: position for position, name in enumerate(names, start=1)}
    return {
        "keypoints": list(names),
        "skeleton": [[number[first], number[second]] for first, second, _ in rules],
    }


def _add_image(
    file: CocoFile,
    record: Mapping[str, Any],
    index: int,
    image_root: str | os.PathLike[str] | None,
    where: str,
) -> Any:
    image_id = plain_id(record.get("image_id", index))
    for key in ("file_name", "height", "width"):
        if record.get(key) is None:
            raise ValueError(
                f"{where}: image {image_id!r} has no {key!r}, which COCO's format needs"
            )
    name = os.fspath(record["file_name"])
    if image_root is not None:
        name = os.path.relpath(name, image_root).replace(os.sep, "/")
    return file.add_image(name, (record["height"], record["width"]), image_id)


def _category(
    annotation: Mapping[str, Any], category_ids: Mapping[int, int], num_classes: int, where: str
) -> int:
    label = plain_id(annotation.get("category_id"))
    if label not in category_ids:
        raise ValueError(
            f"{where}: category_id {label!r} is not in 0..{num_classes - 1}, the range of its "
            f"{num_classes} thing_classes, or the metadata has no dataset id for it"
        )
    return category_ids[label]
