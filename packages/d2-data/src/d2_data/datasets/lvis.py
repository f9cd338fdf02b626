"""LVIS' annotation format: COCO's, with the categories that were looked for in each image.

Source: https://www.lvisdataset.org/dataset
"""

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from d2_data.annotations import in_order_of_ids, name_of_file, read_coco
from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.file_entries import text
from d2_data.image_root import ImageRoot, OutsideRoot
from d2_data.located_errors import located
from d2_structures import BoxMode

__all__ = ["get_lvis_instances_meta", "load_lvis_json", "register_lvis_instances"]

_logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

_IMAGE_KEYS = ("height", "width", "not_exhaustive_category_ids", "neg_category_ids")
_ANNOTATION_KEYS = ("bbox", "segmentation", "iscrowd")

_VOCABULARIES = {"cocofied": "coco", "v0.5": "lvis_v0.5", "v1": "lvis_v1"}
"""By what is looked for in a dataset's name, in this order."""


def register_lvis_instances(
    name: str,
    metadata: dict[str, Any],
    json_file: StrPath,
    image_root: StrPath,
    *,
    outside_root: OutsideRoot = "refuse",
) -> None:
    """Register a dataset in LVIS' format for detection and segmentation.

    The file is read when the samples are first asked for.

    Args:
        name: the name that identifies the dataset, e.g. ``"lvis_v1_train"``; see
            :func:`load_lvis_json` for what it says of the classes.
        metadata: further metadata of the dataset; may be empty.
        json_file: the annotation file.
        image_root: the folder that holds the images, for COCO's that of ``train2017`` and others.
        outside_root: see :func:`load_lvis_json`.

    Raises:
        ValueError: if the name is taken.
    """
    load = partial(load_lvis_json, json_file, image_root, name, outside_root=outside_root)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        json_file=os.fspath(json_file),
        image_root=os.fspath(image_root),
        **({"evaluator_type": "lvis"} | metadata),
    )


def get_lvis_instances_meta(dataset_name: str) -> dict[str, Any]:
    """The metadata that LVIS datasets of one version share.

    Args:
        dataset_name: a name with the version in it, ``v0.5`` or ``v1``; one with ``cocofied`` in
            it has COCO's classes. A split may follow: ``"lvis_v1"``, ``"lvis_v1_train"``.

    Returns:
        ``thing_classes``; of v1 also ``class_image_count``, how many images show each class; of
        COCO's classes also their colours and ids.

    Raises:
        ValueError: if the name tells no version.
    """
    for part, vocabulary in _VOCABULARIES.items():
        if part in dataset_name:
            return read_vocabulary(vocabulary)
    raise ValueError(
        f"the classes of {dataset_name!r} are not known: a name of an LVIS dataset has one of "
        f"{list(_VOCABULARIES)} in it"
    )


def load_lvis_json(
    json_file: StrPath,
    image_root: StrPath,
    dataset_name: str | None = None,
    *,
    outside_root: OutsideRoot = "refuse",
) -> list[dict[str, Any]]:
    """Read an LVIS annotation file into standard dataset dicts. No image is opened.

    Images come in the order of their ids. One with a ``coco_url`` is expected in the folder and
    under the name at its end, e.g. ``val2017/000000001000.jpg``; another one under its
    ``file_name``.

    Args:
        json_file: the annotation file.
        image_root: the folder that holds the images.
        dataset_name: when given, the classes are put into the metadata of this dataset: those of
            :func:`get_lvis_instances_meta` if the name tells a version, else those that the file
            declares, in the order of their ids.
        outside_root: what may lie outside of the folder; see
            :func:`~d2_data.datasets.load_coco_json`. ``"links"`` where the folders of COCO in it
            are symbolic links.

    Returns:
        One dict per image: ``file_name``, ``height``, ``width``, ``image_id``, ``annotations``,
        and ``neg_category_ids`` and ``not_exhaustive_category_ids`` as in the file. The classes
        of annotations are LVIS' ids minus 1, or what the metadata maps the ids to.

    Raises:
        FileNotFoundError: if the file is missing.
        KeyError: if an annotation has a category that the file does not declare.
        ValueError: if the file is malformed, has other categories than the metadata, or names
            images outside of the folder.
    """
    content = read_coco(json_file)
    root = ImageRoot(image_root, outside_root)
    where = name_of_file(json_file)
    classes = _declare_classes(content.categories, dataset_name, where)
    records = {
        image["id"]: {
            "file_name": _path(image, root, where),
            "image_id": image["id"],
            **{key: image[key] for key in _IMAGE_KEYS if key in image},
            "annotations": [],
        }
        for image in in_order_of_ids(content.images)
    }
    for place, annotation in enumerate(content.annotations):
        if place in content.without_outline:
            raise ValueError(
                f"{where}: annotation id {annotation.get('id')!r} of image "
                f"{annotation['image_id']!r} has no valid polygon; correct or remove it"
            )
        kept = {key: annotation[key] for key in _ANNOTATION_KEYS if key in annotation}
        kept["bbox_mode"] = BoxMode.XYWH_ABS
        kept["category_id"] = _class(annotation, classes, where)
        records[annotation["image_id"]]["annotations"].append(kept)
    _logger.info("Read %d images from %s", len(records), Path(json_file).name)
    return list(records.values())


def _declare_classes(
    categories: list[dict[str, Any]], dataset_name: str | None, where: str
) -> Mapping[Any, int] | None:
    """Put the classes into the metadata; return the class of each category id.

    None stands for the id minus 1, whatever it is.
    """
    if dataset_name is None:
        return None
    ids = [category["id"] for category in in_order_of_ids(categories)]
    if not any(part in dataset_name for part in _VOCABULARIES):
        classes = {category: index for index, category in enumerate(ids)}
        MetadataCatalog.get(dataset_name).set(**_metadata_of(categories, classes))
        return classes
    shared = get_lvis_instances_meta(dataset_name)
    MetadataCatalog.get(dataset_name).set(**shared)
    numbered = {index + 1: index for index in range(len(shared["thing_classes"]))}
    known: Mapping[Any, int] = shared.get("thing_dataset_id_to_contiguous_id", numbered)
    foreign = [category for category in ids if category not in known]
    if foreign:
        raise ValueError(
            f"{where} declares categories that {dataset_name!r} does not have, e.g. "
            f"{foreign[:5]}: a dataset of this name has the {len(known)} classes of "
            f"{_version(dataset_name)}. Register the file under a name of its version"
        )
    return known


def _version(dataset_name: str) -> str:
    found = next(part for part in _VOCABULARIES if part in dataset_name)
    return "COCO" if found == "cocofied" else f"LVIS {found}"


def _metadata_of(categories: list[dict[str, Any]], classes: dict[Any, int]) -> dict[str, Any]:
    """What a file's own categories say."""
    ordered = sorted(categories, key=lambda category: classes[category["id"]])
    metadata: dict[str, Any] = {
        "thing_classes": [category["name"] for category in ordered],
        "thing_dataset_id_to_contiguous_id": classes,
    }
    if all("image_count" in category for category in ordered):
        metadata["class_image_count"] = [
            {"id": category["id"], "image_count": category["image_count"]} for category in ordered
        ]
    return metadata


def _path(image: Mapping[str, Any], root: ImageRoot, where: str) -> str:
    with located(f"{where}: image id {image['id']!r}"):
        if image.get("coco_url"):
            return root.path(os.path.join(*text(image, "coco_url").split("/")[-2:]))
        if not image.get("file_name"):
            raise ValueError("has neither 'coco_url' nor 'file_name'")
        return root.path(text(image, "file_name"))


def _class(annotation: Mapping[str, Any], classes: Mapping[Any, int] | None, where: str) -> int:
    category = annotation.get("category_id")
    if classes is None and isinstance(category, int):
        return category - 1
    if classes is not None and category in classes:
        return classes[category]
    raise KeyError(
        f"{where}: annotation id {annotation.get('id')!r} of image {annotation['image_id']!r} has "
        f"the category_id {category!r}, which is no class of the dataset"
    )
