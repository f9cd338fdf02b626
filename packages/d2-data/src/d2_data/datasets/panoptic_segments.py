"""Panoptic files: their categories, and the segments of their annotations."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from d2_data.catalog import Metadata
from d2_data.file_entries import identity, list_of_objects, text, whole
from d2_data.formats import read_json
from d2_data.image_root import check_name_below
from d2_data.located_errors import located

__all__ = [
    "PanopticAnnotation",
    "PanopticContent",
    "contiguous_segments",
    "declare_panoptic_categories",
    "read_panoptic_json",
]

_COLOR = 3


class PanopticAnnotation(NamedTuple):
    """What a panoptic file says of an image.

    Attributes:
        image_id: of the image.
        file_name: of the PNG with the segments' ids.
        segments: each with ``id`` and ``category_id``.
        image: the image's entry in the file; empty where there is none.
    """

    image_id: int | str
    file_name: str
    segments: list[dict[str, Any]]
    image: Mapping[str, Any]


class PanopticContent(NamedTuple):
    """What a panoptic file holds, checked.

    Attributes:
        where: names the file in errors.
        annotations: in the file's order.
        categories: each with ``id``, ``name`` and ``isthing``, in the file's order.
    """

    where: str
    annotations: list[PanopticAnnotation]
    categories: list[dict[str, Any]]


def read_panoptic_json(
    panoptic_json: str | os.PathLike[str], *, expected_keys: tuple[str, ...] = ("annotations",)
) -> PanopticContent:
    """Read a file in COCO's panoptic format.

    Args:
        panoptic_json: the file.
        expected_keys: what it must have at the top level.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is malformed; the message names the entry.
    """
    content = read_json(panoptic_json, expected_keys=expected_keys)
    where = f"annotation file {os.fspath(panoptic_json)!r}"
    with located(where):
        categories = list_of_objects(content, "categories")
        for category in categories:
            with located(f"{where}: category {category.get('id')!r}"):
                whole(category, "id")
                text(category, "name")
                whole(category, "isthing", "0 or 1")
        images = {identity(image): image for image in list_of_objects(content, "images")}
        entries = list_of_objects(content, "annotations")
    return PanopticContent(where, [_annotation(e, images, where) for e in entries], categories)


def _annotation(
    entry: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]], where: str
) -> PanopticAnnotation:
    named = f"{where}: the annotation of image {entry.get('image_id')!r}"
    with located(named):
        if "segments_info" not in entry:
            raise ValueError("lacks 'segments_info'; is it of a file of instances?")
        image_id, file_name = identity(entry, "image_id"), text(entry, "file_name")
        check_name_below(file_name)
        segments = list_of_objects(entry, "segments_info")
        for segment in segments:
            with located(f"{named}: segment {segment.get('id')!r}"):
                whole(segment, "id")
                whole(segment, "category_id")
        if len({segment["id"] for segment in segments}) < len(segments):
            raise ValueError("has two segments with the same id")
    return PanopticAnnotation(image_id, file_name, segments, images.get(image_id, {}))


def contiguous_segments(
    annotation: PanopticAnnotation, metadata: Metadata, where: str
) -> list[dict[str, Any]]:
    """The segments of an annotation with the classes 0..K-1, and ``isthing``.

    Args:
        annotation: of a panoptic file.
        metadata: with ``thing_dataset_id_to_contiguous_id`` and
            ``stuff_dataset_id_to_contiguous_id``.
        where: names the file in errors.

    Raises:
        KeyError: if the metadata has no class for a category.
    """
    things = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    stuff = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
    converted: list[dict[str, Any]] = []
    for segment in annotation.segments:
        category = segment["category_id"]
        is_thing = category in things
        if not is_thing and category not in stuff:
            raise KeyError(
                f"{where}: the annotation of image {annotation.image_id!r} has a segment "
                f"{segment['id']} with the category_id {category!r}, for which the metadata of "
                f"{metadata.name!r} has no class; its thing_dataset_id_to_contiguous_id and "
                f"stuff_dataset_id_to_contiguous_id know {sorted([*things, *stuff])}"
            )
        label = things[category] if is_thing else stuff[category]
        converted.append({**segment, "category_id": label, "isthing": is_thing})
    return converted


def declare_panoptic_categories(
    categories: Sequence[Mapping[str, Any]], metadata: Metadata
) -> None:
    """Put a panoptic file's categories into metadata that has none.

    Objects and materials are numbered together, in the order of their ids, as in COCO's standard
    panoptic layout. Colours are taken where each category has one.
    """
    known = metadata.as_dict()
    if {"thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id"} & known.keys():
        return
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
    colors = [category.get("color") for category in ordered]
    if all(isinstance(color, list) and len(color) == _COLOR for color in colors):
        tuples = [tuple(color) for color in colors if color is not None]
        derived |= {"thing_colors": tuples, "stuff_colors": tuples}
    metadata.set(**{key: value for key, value in derived.items() if key not in known})
