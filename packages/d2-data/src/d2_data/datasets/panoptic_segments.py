"""Panoptic segments of files, with the classes of the metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

from d2_data.catalog import Metadata

__all__ = ["contiguous_segments", "declare_panoptic_categories"]


def contiguous_segments(
    segments: Sequence[Mapping[str, Any]], metadata: Metadata, where: str
) -> list[dict[str, Any]]:
    """Give segments the classes 0..K-1 and say which are objects.

    Args:
        segments: the ``segments_info`` of a file's annotation.
        metadata: with ``thing_dataset_id_to_contiguous_id`` and
            ``stuff_dataset_id_to_contiguous_id``.
        where: names the annotation in errors.

    Returns:
        The segments with another ``category_id``, and ``isthing``.

    Raises:
        KeyError: if the metadata has no class for a category.
        ValueError: if a segment has no id or category, or two have the same id.
    """
    things = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    stuff = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
    converted: list[dict[str, Any]] = []
    for segment in segments:
        category = segment.get("category_id")
        if category is None or segment.get("id") is None:
            raise ValueError(
                f"{where} has a segment without 'id' or 'category_id': {dict(segment)}"
            )
        is_thing = category in things
        if not is_thing and category not in stuff:
            raise KeyError(
                f"{where}: segment {segment['id']} has category_id {category!r}, for which the "
                f"metadata of {metadata.name!r} has no class; its "
                "thing_dataset_id_to_contiguous_id and stuff_dataset_id_to_contiguous_id know "
                f"{sorted([*things, *stuff])}"
            )
        label = things[category] if is_thing else stuff[category]
        converted.append({**segment, "category_id": label, "isthing": is_thing})
    if len({segment["id"] for segment in converted}) < len(converted):
        raise ValueError(f"{where} has two segments with the same id")
    return converted


def declare_panoptic_categories(
    categories: Sequence[Mapping[str, Any]], metadata: Metadata, where: str
) -> None:
    """Put a panoptic file's categories into metadata that has none.

    Objects and materials are numbered together, in the order of their ids, as in COCO's standard
    panoptic layout.

    Raises:
        ValueError: if a category lacks ``id``, ``name`` or ``isthing``.
    """
    known = metadata.as_dict()
    if {"thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id"} & known.keys():
        return
    for category in categories:
        missing = [key for key in ("id", "name", "isthing") if key not in category]
        if missing:
            raise ValueError(f"{where}: category {dict(category)} lacks {missing}")
    ordered = sorted(categories, key=lambda category: category["id"])
    ids = {category["id"]: index for index, category in enumerate(ordered)}
    names = [category["name"] for category in ordered]
    things = {category["id"] for category in ordered if category["isthing"]}
    derived: dict[str, Any] = {
        "thing_classes": names,
        "stuff_classes": names,
        "thing_dataset_id_to_contiguous_id": {i: ids[i] for i in ids if i in things},
        "stuff_dataset_id_to_contiguous_id": {i: ids[i] for i in ids if i not in things},
    }
    if all(category.get("color") for category in ordered):
        colors = [tuple(category["color"]) for category in ordered]
        derived |= {"thing_colors": colors, "stuff_colors": colors}
    metadata.set(**{key: value for key, value in derived.items() if key not in known})
