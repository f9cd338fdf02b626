"""The annotations that COCO's metrics compare with, from whatever names a dataset."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs
from pycocotools.coco import COCO

from d2_config.atomic_file import write_atomically
from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.formats import read_json
from d2_data.datasets import convert_to_coco_dict

_logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class CocoGroundTruth:
    """COCO annotations and how the model's class ids map to theirs.

    Attributes:
        name: the dataset's name or file, for messages.
        coco: pycocotools' index of the annotations.
        category_ids: the dataset's category id of each contiguous class id.
        class_names: of each contiguous class id.
        has_annotations: False for a test set that comes without.
    """

    name: str
    coco: COCO
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    has_annotations: bool

    @classmethod
    def load(
        cls,
        dataset: str | os.PathLike[str] | Metadata,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        allow_cached: bool = True,
    ) -> CocoGroundTruth:
        """Find the annotations of a dataset.

        Args:
            dataset: a name from the catalogs, a ``Metadata``, or the path of a COCO annotation
                file. With ``json_file`` in the metadata that file is read; otherwise the dataset
                is converted from the standard format.
            cache_dir: where a converted dataset is kept as
                ``{name}_coco_format.json``; None converts it in memory.
            allow_cached: whether a file kept earlier may be used.

        Raises:
            KeyError: if the name is not known.
            FileNotFoundError: if the annotation file is missing.
            ValueError: if the file is not COCO's format or disagrees with the metadata.
        """
        metadata, json_file = _find(dataset)
        if json_file is not None:
            content = read_json(json_file, expected_keys=("images", "categories"))
            return cls._from_content(content, metadata, metadata.name, str(json_file))
        content = _converted(metadata, cache_dir, allow_cached)
        return cls._from_content(content, metadata, metadata.name, f"dataset {metadata.name!r}")

    @classmethod
    def _from_content(
        cls, content: dict[str, Any], metadata: Metadata, name: str, where: str
    ) -> CocoGroundTruth:
        category_ids, class_names = _classes(content, metadata, where)
        has_annotations = "annotations" in content
        for annotation in content.get("annotations", ()):
            annotation.setdefault("iscrowd", 0)
            if "area" not in annotation:
                _, _, width, height = annotation["bbox"]
                annotation["area"] = width * height
            if annotation["id"] == 0:
                _logger.warning(
                    "%s has an annotation with the id 0. COCO's metrics take a detection of it "
                    "for a wrong one; number annotations from 1.",
                    where,
                )
        coco = COCO()
        coco.dataset = content
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return cls(name, coco, category_ids, class_names, has_annotations)


def _find(dataset: str | os.PathLike[str] | Metadata) -> tuple[Metadata, Path | None]:
    """The metadata, and the annotation file if there is one."""
    if isinstance(dataset, Metadata):
        metadata = dataset
    elif isinstance(dataset, os.PathLike) or dataset.endswith(".json"):
        return Metadata(name=Path(dataset).stem), Path(dataset)
    elif dataset in DatasetCatalog or dataset in MetadataCatalog.list():
        metadata = MetadataCatalog.get(dataset)
    else:
        known = sorted({*DatasetCatalog.list(), *MetadataCatalog.list()})
        close = get_close_matches(dataset, known)
        raise KeyError(
            f"dataset {dataset!r} is not registered; "
            + (f"did you mean {close}?" if close else f"known: {known}")
            + " Or give the path of a COCO annotation file (.json)."
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
    content: dict[str, Any], metadata: Metadata, where: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    names = {category["id"]: category["name"] for category in content["categories"]}
    mapping: Mapping[int, int] | None = metadata.get("thing_dataset_id_to_contiguous_id")
    if mapping is None:
        category_ids = tuple(sorted(names))
    else:
        if sorted(mapping.values()) != list(range(len(mapping))):
            raise ValueError(
                f"thing_dataset_id_to_contiguous_id of {metadata.name!r} must map to "
                f"0..{len(mapping) - 1}, each once, got {sorted(mapping.values())}"
            )
        undeclared = sorted(set(mapping) - set(names))
        if undeclared:
            raise ValueError(
                f"{where} does not declare the categories {undeclared} that the metadata of "
                f"{metadata.name!r} maps; it declares {sorted(names)}"
            )
        category_ids = tuple(sorted(mapping, key=mapping.__getitem__))
    class_names = metadata.get("thing_classes") or [names[number] for number in category_ids]
    if len(class_names) != len(category_ids):
        raise ValueError(
            f"{metadata.name!r} has {len(class_names)} thing_classes but {where} gives "
            f"{len(category_ids)} categories"
        )
    return category_ids, tuple(class_names)
