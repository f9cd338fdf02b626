"""What the classes of the built-in datasets are called, and how they are numbered."""

import json
from collections.abc import Callable
from typing import Any

from d2_data.builtin_datasets import BUILTIN_FOLDER

__all__ = ["read_vocabulary"]

Content = dict[str, Any]
Category = dict[str, Any]

_ALL_THINGS = {"name": "things", "color": [82, 18, 128]}
"""The semantic class that stands for every object, where the objects have a list of their own."""


def read_vocabulary(name: str) -> dict[str, Any]:
    """Read the metadata that datasets with the same classes share.

    Args:
        name: one of ``coco``, ``coco_person``, ``coco_panoptic_standard``,
            ``coco_panoptic_separated``, ``lvis_v0.5``, ``lvis_v1``, ``pascal_voc``,
            ``cityscapes``, ``cityscapes_panoptic`` and ``ade20k``.

    Returns:
        New metadata: class names, colours as (r, g, b), maps from the ids of the files to
        0..K-1, keypoints.

    Raises:
        ValueError: if there is no such vocabulary.
    """
    if name not in _VOCABULARIES:
        raise ValueError(f"there is no vocabulary {name!r}, there are {sorted(_VOCABULARIES)}")
    file, arrange = _VOCABULARIES[name]
    content = json.loads((BUILTIN_FOLDER / file).read_bytes())
    return {
        key: [_as_tuple(entry) for entry in value] if isinstance(value, list) else value
        for key, value in arrange(content).items()
    }


def _as_written(content: Content) -> Content:
    return content


def _objects(content: Content) -> Content:
    things = [category for category in content["categories"] if category["isthing"]]
    return {
        "thing_classes": [category["name"] for category in things],
        "thing_colors": [category["color"] for category in things],
        "thing_dataset_id_to_contiguous_id": _contiguous_ids(things),
    }


def _one_list(content: Content) -> Content:
    """Objects and materials are numbered together: both lists of classes hold all."""
    categories = content["categories"]
    names = [category["name"] for category in categories]
    colors = [category["color"] for category in categories]
    ids = _contiguous_ids(categories)
    things = {category["id"] for category in categories if category["isthing"]}
    return {
        "thing_classes": names,
        "thing_colors": colors,
        "stuff_classes": names,
        "stuff_colors": colors,
        "thing_dataset_id_to_contiguous_id": {i: ids[i] for i in ids if i in things},
        "stuff_dataset_id_to_contiguous_id": {i: ids[i] for i in ids if i not in things},
    }


def _separated(content: Content) -> Content:
    """Objects have their own numbers; among the materials they all are class 0."""
    stuff = [category for category in content["categories"] if not category["isthing"]]
    names = [_material(category["name"]) for category in stuff]
    return _objects(content) | {
        "stuff_classes": [_ALL_THINGS["name"], *names],
        "stuff_colors": [_ALL_THINGS["color"], *(category["color"] for category in stuff)],
        "stuff_dataset_id_to_contiguous_id": {0: 0} | _contiguous_ids(stuff, first=1),
    }


def _material(name: str) -> str:
    """A material's name before several were merged into one class."""
    return name.replace("-other", "").replace("-merged", "")


def _names_only(content: Content) -> Content:
    """Cityscapes' files tell objects by their colours and numbers themselves."""
    categories = content["categories"]
    return {
        "thing_classes": [category["name"] for category in categories if category["isthing"]],
        "stuff_classes": [category["name"] for category in categories],
    }


def _with_image_counts(content: Content) -> Content:
    counts = enumerate(content["image_counts"], start=1)
    return {
        "thing_classes": content["thing_classes"],
        "class_image_count": [{"id": i, "image_count": count} for i, count in counts],
    }


def _contiguous_ids(categories: list[Category], first: int = 0) -> dict[int, int]:
    return {category["id"]: index for index, category in enumerate(categories, start=first)}


def _as_tuple(entry: Any) -> Any:
    return tuple(map(_as_tuple, entry)) if isinstance(entry, list) else entry


_VOCABULARIES: dict[str, tuple[str, Callable[[Content], Content]]] = {
    "coco": ("coco.json", _objects),
    "coco_person": ("coco_person.json", _as_written),
    "coco_panoptic_standard": ("coco.json", _one_list),
    "coco_panoptic_separated": ("coco.json", _separated),
    "lvis_v0.5": ("lvis_v0.5.json", _as_written),
    "lvis_v1": ("lvis_v1.json", _with_image_counts),
    "pascal_voc": ("pascal_voc.json", _as_written),
    "cityscapes": ("cityscapes.json", _names_only),
    "cityscapes_panoptic": ("cityscapes.json", _one_list),
    "ade20k": ("ade20k.json", _as_written),
}
