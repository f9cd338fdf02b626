"""Datasets in YOLO's format as standard dataset dicts."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.datasets.yolo.description import YoloDescription, read_yolo_description
from d2_data.datasets.yolo.rows import RowReader
from d2_data.image_reading import read_image_size

__all__ = ["load_yolo", "register_yolo", "yolo_metadata"]

_logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]


def register_yolo(
    name: str, data_yaml: StrPath, split: str, *, rotated: bool = False, **metadata: Any
) -> None:
    """Register a dataset in YOLO's format. The YAML file is read now, labels when asked for.

    Args:
        name: the name that identifies the dataset.
        data_yaml: the file that describes it.
        split: ``train``, ``val`` or ``test``.
        rotated: see :func:`load_yolo`.
        **metadata: further metadata.

    Raises:
        FileNotFoundError, ValueError: see :func:`~d2_data.datasets.yolo.read_yolo_description`.
    """
    known = yolo_metadata(read_yolo_description(data_yaml))
    DatasetCatalog.register(name, partial(load_yolo, data_yaml, split, rotated=rotated))
    MetadataCatalog.get(name).set(**known, **metadata)


def load_yolo(data_yaml: StrPath, split: str, *, rotated: bool = False) -> list[dict[str, Any]]:
    """Read a split of a dataset in YOLO's format.

    The labels of ``…/images/….jpg`` are in ``…/labels/….txt``, in the last folder of that name, or
    else beside the image. A line is a class, followed by fractions of the image's width and
    height: four of a box (centre, width, height), keypoints after these where the dataset has any,
    or the corners of a polygon. The head of each image is read for its size.

    Args:
        data_yaml: the file that describes the dataset.
        split: ``train``, ``val`` or ``test``.
        rotated: whether four corners are a rotated box instead of a polygon.

    Returns:
        One dict per image, in the order of their paths and numbered from 1, with ``file_name``,
        ``image_id``, ``height``, ``width`` and ``annotations``. Classes are 0..K-1 in the order of
        the description's numbers. An image without label file shows nothing.

    Raises:
        FileNotFoundError: if no image has a label file, or images are absent.
        ValueError: if a line cannot be read; the message names file and line.
    """
    description = read_yolo_description(data_yaml)
    images = description.images(split)
    files = [_label_file(image) for image in images]
    without = [file for file in files if not file.is_file()]
    if len(without) == len(files):
        raise FileNotFoundError(
            f"none of the {len(files)} images of {split!r} in {os.fspath(data_yaml)!r} has a label "
            f"file; that of {str(images[0])!r} is expected as {str(files[0])!r}"
        )
    if without:
        _logger.warning(
            "%d of %d images have no label file and are taken to show nothing, e.g. %s is missing",
            len(without),
            len(files),
            without[0],
        )
    reader = RowReader(description, rotated=rotated)
    records = []
    for number, (image, file) in enumerate(zip(images, files, strict=True), start=1):
        height, width = read_image_size(image)
        records.append(
            {
                "file_name": str(image),
                "image_id": number,
                "height": height,
                "width": width,
                "annotations": reader.read(file, (height, width)) if file.is_file() else [],
            }
        )
    _logger.info("Read %d images of %s from %s", len(records), split, os.fspath(data_yaml))
    return records


def yolo_metadata(description: YoloDescription) -> dict[str, Any]:
    """The metadata that a description gives: classes, their numbers, and keypoints."""
    numbers = sorted(description.names)
    metadata: dict[str, Any] = {
        "thing_classes": [description.names[number] for number in numbers],
        "thing_dataset_id_to_contiguous_id": {number: i for i, number in enumerate(numbers)},
    }
    if description.keypoint_shape is not None:
        count = description.keypoint_shape[0]
        names = description.keypoint_names or tuple(f"keypoint_{i}" for i in range(count))
        metadata["keypoint_names"] = list(names)
        flips = description.flip_indices
        if flips is not None:
            metadata["keypoint_flip_map"] = [
                (names[i], names[j]) for i, j in enumerate(flips) if i < j
            ]
    return metadata


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[:-1][::-1].index("images")
        parts[place] = "labels"
    return Path(*parts).with_suffix(".txt")
