"""COCO's instance and person-keypoint annotation format.

Source: https://cocodataset.org/#format-data
"""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from d2_data.annotation_file import paused_collector
from d2_data.annotations import CocoContent, in_order_of_ids, name_of_file, read_coco
from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.datasets.coco_keypoints import describe_keypoints
from d2_data.image_root import OutsideRoot
from d2_structures import BoxMode

__all__ = ["load_coco_json", "register_coco_instances"]

_logger = logging.getLogger(__name__)

_STANDARD_KEYS = ("iscrowd", "bbox", "segmentation", "keypoints", "category_id")

_UPRIGHT = BoxMode.XYWH_ABS
_ROTATED = BoxMode.XYWHA_ABS


def register_coco_instances(
    name: str,
    metadata: dict[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    *,
    outside_root: OutsideRoot = "refuse",
) -> None:
    """Register a dataset in COCO format for detection, segmentation and keypoints.

    The file is read when the samples are first asked for.

    Args:
        name: the name that identifies the dataset, e.g. ``"coco_2014_train"``.
        metadata: further metadata of the dataset; may be empty.
        json_file: the annotation file.
        image_root: the folder that the file names in it are relative to.
        outside_root: see :func:`load_coco_json`.

    Raises:
        TypeError: if an argument is of another type, e.g. when file and folder of a
            split are passed as one tuple.
        ValueError: if the name is taken.
    """
    for label, value, wanted in (
        ("name", name, str),
        ("json_file", json_file, (str, os.PathLike)),
        ("image_root", image_root, (str, os.PathLike)),
    ):
        if not isinstance(value, wanted):
            raise TypeError(
                f"register_coco_instances: {label} must be a string"
                f"{'' if label == 'name' else ' or path'}, got {value!r}"
            )
    load = partial(load_coco_json, json_file, image_root, name, outside_root=outside_root)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        json_file=os.fspath(json_file),
        image_root=os.fspath(image_root),
        evaluator_type="coco",
        **({} if outside_root == "refuse" else {"outside_root": outside_root}),
        **metadata,
    )


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
    *,
    outside_root: OutsideRoot = "refuse",
) -> list[dict[str, Any]]:
    """Read a COCO annotation file into standard dataset dicts.

    Images come in the order of their ids, numbers before text. Boxes stay in XYWH pixels, those
    of five numbers are rotated; COCO's keypoints are pixel indices and get +0.5 here. Polygons of
    an odd length or fewer than three points are dropped, and an instance that has none left is
    dropped with a warning. Annotation ids that occur more than once are reported too, as in COCO
    2014 minival.

    What tools leave out or write in another way is understood, see
    :func:`d2_data.annotations.normalized_coco`: null fields, absent boxes beside a segmentation,
    polygons that are nested otherwise, plain run lengths, ids as text, backslashes in file names.
    Image files are not opened, but for sizes that the file lacks.

    Args:
        json_file: the annotation file.
        image_root: the folder that the file names in it are relative to. An empty one says that
            they are whole paths.
        dataset_name: when given, category ids are mapped to 0..K-1 in the order of
            the ids, and ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``
            are put into the metadata of this dataset; so are ``keypoint_names``,
            ``keypoint_flip_map`` and ``keypoint_connection_rules`` where the categories
            declare keypoints and the metadata does not. Without a name the ids stay as
            they are in the file.
        extra_annotation_keys: further keys of each annotation to carry over unchanged.
        outside_root: ``"refuse"`` has all images lie below ``image_root``; ``"links"`` follows
            symbolic links in it to wherever they lead; ``"allow"`` takes absolute names and steps
            upward as well, of a file that you trust.

    Returns:
        One dict per image: ``file_name``, ``height``, ``width``, ``image_id`` and
        ``annotations``.

    Raises:
        FileNotFoundError: if the file is missing.
        KeyError: if an annotation has a category that the file does not declare.
        ValueError: if the file is malformed, or an image lies outside of the folder; the message
            names the annotation or image.
    """
    expected = ("images",) if dataset_name is None else ("images", "categories")
    with paused_collector():
        content = read_coco(
            json_file, image_root=image_root, outside_root=outside_root, expected_keys=expected
        )
        where = name_of_file(json_file)
        contiguous_ids = _declare_categories(content.categories, dataset_name, where)
        _report_repeated_ids(content.annotations, where)
        reader = _AnnotationReader(where, contiguous_ids, tuple(extra_annotation_keys or ()))
        dicts = _standard_dicts(content, os.fspath(image_root), reader)
    if content.without_outline:
        _logger.warning(
            "%s: dropped %d instances whose polygons are all invalid (odd length or fewer "
            "than 3 points)",
            where,
            len(content.without_outline),
        )
    _logger.info("Read %d images from %s", len(dicts), Path(json_file).name)
    return dicts


def _standard_dicts(
    content: CocoContent, root: str, reader: "_AnnotationReader"
) -> list[dict[str, Any]]:
    images = in_order_of_ids(content.images)
    annotations_of: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    # What has been converted is let go of at once: two copies of all would be held otherwise.
    content.annotations.reverse()
    for place in range(len(content.annotations)):
        annotation = content.annotations.pop()
        if place not in content.without_outline:
            annotations_of[annotation["image_id"]].append(reader.read(annotation))
    return [
        {
            "file_name": os.path.join(root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": annotations_of[image["id"]],
        }
        for image in images
    ]


def _declare_categories(
    categories: list[dict[str, Any]], dataset_name: str | None, where: str
) -> dict[Any, int] | None:
    """Put the file's categories into the metadata; return the map of ids, if wanted."""
    if dataset_name is None:
        return None
    categories = in_order_of_ids(categories)
    contiguous_ids = {category["id"]: index for index, category in enumerate(categories)}
    if categories and list(contiguous_ids) != list(range(1, len(categories) + 1)):
        _logger.info(
            "%s: category ids are not 1..%d; they are mapped to 0..%d",
            where,
            len(categories),
            len(categories) - 1,
        )
    metadata = MetadataCatalog.get(dataset_name).set(
        thing_classes=[category["name"] for category in categories],
        thing_dataset_id_to_contiguous_id=contiguous_ids,
    )
    metadata.set(**describe_keypoints(categories, metadata.as_dict(), where))
    return contiguous_ids


class _AnnotationReader:
    """Turns the annotations of one file into those of the standard dataset format."""

    def __init__(
        self, where: str, contiguous_ids: dict[Any, int] | None, extra_keys: tuple[str, ...]
    ) -> None:
        self._where = where
        self._contiguous_ids = contiguous_ids
        self._keys = _STANDARD_KEYS + extra_keys

    def read(self, annotation: dict[str, Any]) -> dict[str, Any]:
        """The converted annotation."""
        if annotation.get("ignore", 0):
            raise ValueError(
                f"{self._where}: annotation id {annotation.get('id')!r} of image "
                f"{annotation['image_id']!r} has 'ignore': {annotation['ignore']!r}, which COCO's "
                "format does not have; mark it 'iscrowd' or remove it"
            )
        result = {key: annotation[key] for key in self._keys if key in annotation}
        if "keypoints" in result:
            result["keypoints"] = _continuous(result["keypoints"])
        result["bbox_mode"] = _UPRIGHT if len(result["bbox"]) == 4 else _ROTATED
        if self._contiguous_ids is not None:
            result["category_id"] = self._contiguous_ids[annotation["category_id"]]
        return result


def _continuous(keypoints: list[float]) -> list[float]:
    """Pixel indices as coordinates of the pixels' centres."""
    return [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(keypoints)]


def _report_repeated_ids(annotations: list[dict[str, Any]], where: str) -> None:
    ids = [annotation["id"] for annotation in annotations if annotation.get("id") is not None]
    distinct = set(ids)
    if len(distinct) == len(ids):
        return
    repeated = (identity for identity, count in Counter(ids).items() if count > 1)
    _logger.warning(
        "%s: %d annotations have an id that another one has, e.g. %r. Training is not "
        "affected, but COCO's metrics take one for the other; number annotations anew "
        "unless this is COCO 2014 minival or valminusminival, which are known to be so",
        where,
        len(ids) - len(distinct),
        next(repeated),
    )
