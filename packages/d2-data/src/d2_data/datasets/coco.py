"""COCO's instance and person-keypoint annotation format.

Source: https://cocodataset.org/#format-data
"""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from d2_data.annotation_file import read_json
from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.datasets.coco_keypoints import describe_keypoints
from d2_structures import BoxMode

__all__ = ["load_coco_json", "register_coco_instances"]

_logger = logging.getLogger(__name__)

_STANDARD_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")


def register_coco_instances(
    name: str,
    metadata: dict[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
) -> None:
    """Register a dataset in COCO format for detection, segmentation and keypoints.

    The file is read when the samples are first asked for.

    Args:
        name: the name that identifies the dataset, e.g. ``"coco_2014_train"``.
        metadata: further metadata of the dataset; may be empty.
        json_file: the annotation file.
        image_root: the folder that the file names in it are relative to.

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
    DatasetCatalog.register(name, partial(load_coco_json, json_file, image_root, name))
    MetadataCatalog.get(name).set(
        json_file=os.fspath(json_file),
        image_root=os.fspath(image_root),
        evaluator_type="coco",
        **metadata,
    )


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a COCO annotation file into standard dataset dicts.

    Images come in the order of their ids. Boxes stay in XYWH pixels; COCO's keypoints
    are pixel indices and get +0.5 here. Polygons of an odd length or fewer than three
    points are dropped, and an instance that has none left is dropped with a warning.
    Annotation ids that occur more than once are reported too, as in COCO 2014 minival.
    Uncompressed run lengths are compressed. Image files are not opened.

    Args:
        json_file: the annotation file.
        image_root: the folder that the file names in it are relative to.
        dataset_name: when given, category ids are mapped to 0..K-1 in the order of
            the ids, and ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``
            are put into the metadata of this dataset; so are ``keypoint_names``,
            ``keypoint_flip_map`` and ``keypoint_connection_rules`` where the categories
            declare keypoints and the metadata does not. Without a name the ids stay as
            they are in the file.
        extra_annotation_keys: further keys of each annotation to carry over unchanged.

    Returns:
        One dict per image: ``file_name``, ``height``, ``width``, ``image_id`` and
        ``annotations``.

    Raises:
        FileNotFoundError: if the file is missing.
        KeyError: if an annotation has a category that the file does not declare.
        ValueError: if the file is malformed; the message names the annotation.
    """
    content = read_json(json_file, expected_keys=("images",))
    where = f"annotation file {os.fspath(json_file)!r}"
    contiguous_ids = _declare_categories(content, dataset_name, where)
    reader = _AnnotationReader(where, contiguous_ids, tuple(extra_annotation_keys or ()))

    annotations_of: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    annotations = content.get("annotations", [])
    _report_repeated_ids(annotations, where)
    for annotation in annotations:
        annotations_of[_field(annotation, "image_id", where)].append(annotation)

    root = os.fspath(image_root)
    dicts = []
    images = _unique(content["images"], "image", where)
    for image in sorted(images, key=lambda image: image["id"]):
        read = map(reader.read, annotations_of.pop(image["id"], ()))
        dicts.append(
            {
                "file_name": os.path.join(root, _field(image, "file_name", where)),
                "height": _field(image, "height", where),
                "width": _field(image, "width", where),
                "image_id": image["id"],
                "annotations": [a for a in read if a is not None],
            }
        )
    if reader.dropped:
        _logger.warning(
            "%s: dropped %d instances whose polygons are all invalid (odd length or fewer "
            "than 3 points)",
            where,
            reader.dropped,
        )
    if annotations_of:
        _logger.warning(
            "%s: %d annotations belong to images that the file does not list, e.g. image_id %r",
            where,
            sum(map(len, annotations_of.values())),
            next(iter(annotations_of)),
        )
    _logger.info("Read %d images from %s", len(dicts), Path(json_file).name)
    return dicts


def _declare_categories(
    content: dict[str, Any], dataset_name: str | None, where: str
) -> dict[int, int] | None:
    """Put the file's categories into the metadata; return the map of ids, if wanted."""
    if dataset_name is None:
        return None
    if "categories" not in content:
        raise ValueError(f"{where} lacks 'categories'; it has {sorted(content)[:12]}")
    categories = sorted(
        _unique(content["categories"], "category", where), key=lambda category: category["id"]
    )
    contiguous_ids = {category["id"]: index for index, category in enumerate(categories)}
    if categories and list(contiguous_ids) != list(range(1, len(categories) + 1)):
        _logger.info(
            "%s: category ids are not 1..%d; they are mapped to 0..%d",
            where,
            len(categories),
            len(categories) - 1,
        )
    metadata = MetadataCatalog.get(dataset_name).set(
        thing_classes=[_field(category, "name", where) for category in categories],
        thing_dataset_id_to_contiguous_id=contiguous_ids,
    )
    metadata.set(**describe_keypoints(categories, metadata.as_dict(), where))
    return contiguous_ids


class _AnnotationReader:
    """Turns the annotations of one file into those of the standard dataset format."""

    def __init__(
        self, where: str, contiguous_ids: dict[int, int] | None, extra_keys: tuple[str, ...]
    ) -> None:
        self._where = where
        self._contiguous_ids = contiguous_ids
        self._keys = _STANDARD_KEYS + extra_keys
        self.dropped = 0

    def read(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """The converted annotation, or None where its polygons are all invalid."""
        if annotation.get("ignore", 0):
            raise ValueError(
                f"{self._named(annotation)} has 'ignore': {annotation['ignore']!r}, which COCO's "
                "format does not have; mark it 'iscrowd' or remove it"
            )
        result = {key: annotation[key] for key in self._keys if key in annotation}
        box = result.get("bbox")
        if box is not None and len(box) != 4:
            raise ValueError(
                f"{self._named(annotation)} has 'bbox' {box!r}; wanted [x, y, width, height]"
            )
        segmentation = annotation.get("segmentation")
        if segmentation:
            segmentation = self._segmentation(segmentation, annotation)
            if segmentation is None:
                self.dropped += 1
                return None
            result["segmentation"] = segmentation
        if result.get("keypoints"):
            result["keypoints"] = self._keypoints(result["keypoints"], annotation)
        result["bbox_mode"] = BoxMode.XYWH_ABS
        if self._contiguous_ids is not None:
            result["category_id"] = self._category(annotation)
        return result

    def _segmentation(self, segmentation: Any, annotation: dict[str, Any]) -> Any:
        if isinstance(segmentation, dict):
            if isinstance(segmentation.get("counts"), list):
                return self._compress(segmentation, annotation)
            return segmentation
        if not isinstance(segmentation, list):
            raise ValueError(
                f"{self._named(annotation)} has a 'segmentation' of type "
                f"{type(segmentation).__name__}; wanted a list of polygons or run lengths"
            )
        valid = [p for p in segmentation if len(p) % 2 == 0 and len(p) >= 6]
        return valid or None

    def _compress(self, rle: dict[str, Any], annotation: dict[str, Any]) -> dict[str, Any]:
        from d2_ops.host import rle_encode

        height, width = rle["size"]
        counts = rle["counts"]
        if sum(counts) != height * width:
            raise ValueError(
                f"{self._named(annotation)} has run lengths that add up to {sum(counts)} for a "
                f"mask of {height}x{width} = {height * width} pixels"
            )
        mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
        return dict(rle_encode(mask))

    def _keypoints(self, keypoints: list[float], annotation: dict[str, Any]) -> list[float]:
        if len(keypoints) % 3:
            raise ValueError(
                f"{self._named(annotation)} has {len(keypoints)} keypoint values; wanted "
                "triples of x, y, visibility"
            )
        return [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(keypoints)]

    def _category(self, annotation: dict[str, Any]) -> int:
        assert self._contiguous_ids is not None
        category_id = _field(annotation, "category_id", self._where)
        try:
            return self._contiguous_ids[category_id]
        except KeyError:
            raise KeyError(
                f"{self._named(annotation)} has category_id {category_id!r}, which the file's "
                f"'categories' do not declare (declared: {_shorten(list(self._contiguous_ids))}); "
                "add the category or correct the annotation"
            ) from None

    def _named(self, annotation: dict[str, Any]) -> str:
        return (
            f"{self._where}: annotation id {annotation.get('id')!r} of image "
            f"{annotation.get('image_id')!r}"
        )


def _unique(entries: list[dict[str, Any]], kind: str, where: str) -> list[dict[str, Any]]:
    """``entries`` once it is known that their ids exist and differ."""
    seen = set()
    for entry in entries:
        identity = entry.get("id")
        if identity is None:
            raise ValueError(f"{where}: an entry of {kind} kind lacks 'id': {_shorten(entry)}")
        if identity in seen:
            raise ValueError(f"{where}: the {kind} id {identity!r} occurs more than once")
        seen.add(identity)
    return entries


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


def _field(entry: dict[str, Any], key: str, where: str) -> Any:
    try:
        return entry[key]
    except KeyError:
        raise ValueError(f"{where}: {key!r} is missing from {_shorten(entry)}") from None


def _shorten(value: object, limit: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
