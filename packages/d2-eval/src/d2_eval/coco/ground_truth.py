"""The annotations that COCO's metrics compare with, from whatever names a dataset."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from pycocotools.coco import COCO

from d2_config.files import write_atomically
from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.annotations import (
    CocoContent,
    image_size_of,
    in_order_of_ids,
    normalized_coco,
    read_coco,
    segmentation_area,
)
from d2_data.datasets import convert_to_coco_dict
from d2_data.formats import read_json
from d2_eval.dataset_metadata import unknown_dataset

_logger = logging.getLogger(__name__)

Dataset = str | os.PathLike[str] | Metadata
"""A dataset's name in the catalogs, the path of a COCO annotation file, or metadata."""


@attrs.frozen(eq=False)
class CocoGroundTruth:
    """COCO annotations and how the model's class ids map to theirs.

    They are read through the pass of :mod:`d2_data.annotations`, as for training. Annotations get
    the area of their mask, or box, where the file has none. They are numbered anew where ids are
    missing, repeated, 0 or text: COCO's metrics know an annotation by its id, and count 0 as none.

    Attributes:
        name: the dataset's name or file, for messages.
        coco: pycocotools' index of the annotations.
        category_ids: the dataset's category id of each contiguous class id.
        class_names: of each contiguous class id, all different: where categories share a name, it
            is followed by the category's id.
        has_annotations: False for a test set that comes without.
    """

    name: str
    coco: COCO
    category_ids: tuple[Any, ...]
    class_names: tuple[str, ...]
    has_annotations: bool

    @classmethod
    def load(
        cls,
        dataset: Dataset | Sequence[Dataset],
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        allow_cached: bool = True,
    ) -> CocoGroundTruth:
        """Find the annotations of a dataset.

        Args:
            dataset: a name from the catalogs, a ``Metadata``, or the path of a COCO annotation
                file. With ``json_file`` in the metadata that file is read; otherwise the dataset
                is converted from the standard format. Several are joined: they have the same
                classes, and each its own image ids.
            cache_dir: where a converted dataset is kept as
                ``{name}_coco_format.json``; None converts it in memory.
            allow_cached: whether a file kept earlier may be used.

        Raises:
            KeyError: if the name is not known.
            FileNotFoundError: if the annotation file is missing.
            ValueError: if the file is not COCO's format or disagrees with the metadata, or several
                datasets do not fit together.
        """
        if not isinstance(dataset, str | os.PathLike | Metadata):
            parts = [
                cls.load(one, cache_dir=cache_dir, allow_cached=allow_cached) for one in dataset
            ]
            return _joined(parts)
        metadata, json_file = _find(dataset)
        if json_file is not None:
            content = read_coco(
                json_file,
                image_root=metadata.get("image_root"),
                expected_keys=("images", "categories"),
            )
            return cls._from_content(content, metadata, str(json_file))
        where = f"dataset {metadata.name!r}"
        converted = _converted(metadata, cache_dir, allow_cached)
        return cls._from_content(normalized_coco(converted, where), metadata, where)

    @classmethod
    def in_memory(
        cls,
        images: Sequence[dict[str, Any]],
        annotations: Sequence[dict[str, Any]],
        class_names: Sequence[str],
        name: str = "ground truth in memory",
    ) -> CocoGroundTruth:
        """Return annotations that are complete already.

        Args:
            images: with ``id``, ``height`` and ``width``.
            annotations: with ``image_id``, ``category_id`` (0 to K − 1), ``bbox``, ``area`` and
                ``iscrowd``; they get ids from 1.
            class_names: of the K classes.
            name: for messages.
        """
        categories = [{"id": number, "name": label} for number, label in enumerate(class_names)]
        numbered = [{**one, "id": number} for number, one in enumerate(annotations, start=1)]
        coco = coco_index(list(images), numbered, categories)
        ids = tuple(range(len(categories)))
        return cls(name, coco, ids, _distinct(class_names, ids), True)

    def check_has_annotations(self, label: str) -> None:
        """Refuse a test set that comes without annotations.

        Args:
            label: names it in the error.

        Raises:
            ValueError: if there are none.
        """
        if not self.has_annotations:
            raise ValueError(
                f"{label!r} lists images without annotations: there is nothing to compare "
                "predictions with; give a file that has 'annotations'"
            )

    @classmethod
    def _from_content(cls, content: CocoContent, metadata: Metadata, where: str) -> CocoGroundTruth:
        category_ids, class_names = _classes(content, metadata, where)
        images = {image["id"]: image for image in content.images}
        for annotation in content.annotations:
            annotation.setdefault("iscrowd", 0)
            if "area" not in annotation:
                annotation["area"] = _area(annotation, images[annotation["image_id"]])
        _number(content.annotations, where)
        coco = coco_index(content.images, content.annotations, content.categories)
        return cls(metadata.name, coco, category_ids, class_names, content.has_annotations)


def as_ground_truth(ground_truth: CocoGroundTruth | Dataset) -> CocoGroundTruth:
    """Return annotations themselves; load those that are named.

    Raises:
        KeyError, FileNotFoundError, ValueError: see :meth:`CocoGroundTruth.load`.
    """
    if isinstance(ground_truth, CocoGroundTruth):
        return ground_truth
    return CocoGroundTruth.load(ground_truth)


def coco_index(images: list[Any], annotations: list[Any], categories: list[Any]) -> COCO:
    """Return pycocotools' index of entries of COCO's annotation format."""
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _joined(parts: Sequence[CocoGroundTruth]) -> CocoGroundTruth:
    """Several datasets as one."""
    if not parts:
        raise ValueError("there is no dataset to evaluate on: the list of names is empty")
    first = parts[0]
    if len(parts) == 1:
        return first
    owners: dict[Any, str] = {}
    for part in parts:
        if (part.category_ids, part.class_names) != (first.category_ids, first.class_names):
            raise ValueError(
                f"{first.name!r} and {part.name!r} have different classes: evaluate each with an "
                "evaluator of its own"
            )
        for image in part.coco.imgs:
            if image in owners:
                raise ValueError(
                    f"{owners[image]!r} and {part.name!r} both have an image id {image!r}: "
                    "evaluate each with an evaluator of its own, or number their images apart"
                )
            owners[image] = part.name
    annotations = [
        {**annotation, "id": number}
        for number, annotation in enumerate(
            (one for part in parts for one in part.coco.dataset["annotations"]), start=1
        )
    ]
    images = [image for part in parts for image in part.coco.dataset["images"]]
    return CocoGroundTruth(
        "+".join(part.name for part in parts),
        coco_index(images, annotations, first.coco.dataset["categories"]),
        first.category_ids,
        first.class_names,
        any(part.has_annotations for part in parts),
    )


def _area(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> float:
    """Of the mask in pixels, or of the box where there is none."""
    if "segmentation" in annotation:
        area = segmentation_area(annotation["segmentation"], image_size_of(image))
        if area is not None:
            return area
    width, height = annotation["bbox"][2:4]
    return float(width * height)


def _number(annotations: Sequence[dict[str, Any]], label: str) -> None:
    """Give annotations ids of their own unless theirs are positive integers, all different."""
    ids = [annotation.get("id") for annotation in annotations]
    numbers = [number for number in ids if type(number) is int]
    if len(numbers) == len(ids) == len({*ids}) and min(numbers, default=1) > 0:
        return
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    if 0 in numbers:
        _logger.warning(
            "%s has an annotation with the id 0. Annotations are numbered anew from 1 here; "
            "other tools that use COCO's metrics take a detection of it for a wrong one.",
            label,
        )
    elif len(numbers) > len({*numbers}):
        _logger.warning(
            "%s has annotations with the same id. Annotations are numbered anew from 1 here; "
            "other tools that use COCO's metrics take one for the other.",
            label,
        )


def _find(dataset: str | os.PathLike[str] | Metadata) -> tuple[Metadata, Path | None]:
    """The metadata, and the annotation file if there is one."""
    if isinstance(dataset, Metadata):
        metadata = dataset
    elif isinstance(dataset, os.PathLike) or dataset.endswith(".json"):
        return Metadata(name=Path(dataset).stem), Path(dataset)
    elif dataset in DatasetCatalog or dataset in MetadataCatalog.list():
        metadata = MetadataCatalog.get(dataset)
    else:
        raise KeyError(
            unknown_dataset(dataset) + " Or give the path of a COCO annotation file (.json)."
        )
    json_file = metadata.get("json_file")
    if json_file is not None and not Path(json_file).exists() and metadata.name in DatasetCatalog:
        DatasetCatalog.get(metadata.name)  # a dataset that is generated when first read
    return metadata, None if json_file is None else Path(json_file)


def _converted(
    metadata: Metadata, cache_dir: str | os.PathLike[str] | None, allow_cached: bool
) -> dict[str, Any]:
    name = metadata.name
    if name not in DatasetCatalog:
        raise ValueError(
            f"dataset {name!r} has no 'json_file' in its metadata and is not registered in "
            "DatasetCatalog, so there are no annotations to compare with; set one of the two"
        )
    cache = None
    if cache_dir is not None:
        cache = Path(cache_dir) / f"{name.replace('/', '_')}_coco_format.json"
        if allow_cached and cache.exists():
            _logger.warning(
                "Using the annotations of %s converted earlier: %s. Pass allow_cached_coco=False "
                "if the dataset has changed since.",
                name,
                cache,
            )
            content: dict[str, Any] = read_json(
                cache, expected_keys=("images", "annotations", "categories")
            )
            return content
    _logger.info("Converting %s to COCO's format", name)
    content = convert_to_coco_dict(name, metadata)
    if cache is not None:
        write_atomically(cache, json.dumps(content))
    return content


def _classes(
    content: CocoContent, metadata: Metadata, where: str
) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    names = {category["id"]: category["name"] for category in in_order_of_ids(content.categories)}
    mapping: Mapping[Any, int] | None = metadata.get("thing_dataset_id_to_contiguous_id")
    if mapping is None:
        category_ids = tuple(names)
    else:
        if sorted(mapping.values()) != list(range(len(mapping))):
            raise ValueError(
                f"thing_dataset_id_to_contiguous_id of {metadata.name!r} must map to "
                f"0..{len(mapping) - 1}, each once, got {sorted(mapping.values())}"
            )
        undeclared = [category for category in mapping if category not in names]
        if undeclared:
            raise ValueError(
                f"{where} does not declare the categories {undeclared} that the metadata of "
                f"{metadata.name!r} maps; it declares {list(names)}"
            )
        category_ids = tuple(sorted(mapping, key=mapping.__getitem__))
    class_names = metadata.get("thing_classes") or [names[number] for number in category_ids]
    if mapping is not None and class_names == metadata.get("stuff_classes"):
        class_names = class_names[: len(category_ids)]  # objects, then materials, in one list
    if len(class_names) != len(category_ids):
        raise ValueError(
            f"{metadata.name!r} has {len(class_names)} thing_classes but {where} gives "
            f"{len(category_ids)} categories"
        )
    return category_ids, _distinct(class_names, category_ids)


def _distinct(names: Sequence[str], category_ids: Sequence[Any]) -> tuple[str, ...]:
    """Names under which results are kept: with the category's id where a name repeats."""
    counts = Counter(names)
    return tuple(
        name if counts[name] == 1 else f"{name} (id {identity})"
        for name, identity in zip(names, category_ids, strict=True)
    )
