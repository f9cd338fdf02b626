"""The content of a COCO annotation file, brought into the one form that is read from it.

Source: https://cocodataset.org/#format-data
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from d2_data.annotation_file import paused_collector, read_json
from d2_data.annotations.coco_annotations import AnnotationPass
from d2_data.annotations.image_entries import complete_image
from d2_data.annotations.plain_values import shortened
from d2_data.image_root import ImageRoot, OutsideRoot


class CocoContent(NamedTuple):
    """What a COCO file holds, in one form.

    Attributes:
        images: with ``id``, in the file's order.
        annotations: of these images, in the file's order; each has ``bbox``, and
            ``segmentation``, ``keypoints``, ``area``, ``iscrowd`` and ``id`` where the file does.
            Fields that are null are gone, and ``image_id`` and ``category_id`` are those of an
            image and a category.
        categories: with ``id`` and ``name``, in the file's order.
        without_outline: places in ``annotations`` of those whose polygons are all invalid; they
            have no ``segmentation``.
        has_annotations: whether the file has any such list, be it empty.
    """

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    without_outline: frozenset[int]
    has_annotations: bool


def normalized_coco(
    content: Mapping[str, Any],
    where: str,
    *,
    image_root: str | os.PathLike[str] | None = None,
    outside_root: OutsideRoot = "refuse",
) -> CocoContent:
    """Bring the content of a COCO annotation file into one form.

    Besides what :func:`~d2_data.annotations.normalized_annotation` does, ids may be text or
    numbers: an annotation that writes its image's or category's id the other way round is
    understood. Backslashes in file names separate folders. A missing or zero size is read from
    the image file. What was mended is counted in the log.

    Args:
        content: a parsed file. Its entries are changed in place.
        where: names the file in messages.
        image_root: the folder that file names are relative to; without it, file names and sizes
            may be missing.
        outside_root: what may lie outside of it; see :mod:`d2_data.image_root`.

    Raises:
        KeyError: if an annotation has a category that the file does not declare.
        ValueError: if an entry cannot be understood; the message names it.
    """
    categories = _categories(content, where)
    images = _entries(content, "images", "image", where)
    root = None if image_root is None else ImageRoot(image_root, outside_root)
    for image in images:
        try:
            complete_image(image, root)
        except (OSError, ValueError) as error:
            raise ValueError(f"{where}: image id {image['id']!r} {error}") from error
    annotations = content.get("annotations")
    reader = AnnotationPass(images, categories if "categories" in content else None, where)
    kept = reader.run(_list(annotations, "annotations", where))
    reader.report()
    lost = frozenset(reader.without_outline)
    return CocoContent(images, kept, categories, lost, annotations is not None)


def read_coco(
    json_file: str | os.PathLike[str],
    *,
    image_root: str | os.PathLike[str] | None = None,
    outside_root: OutsideRoot = "refuse",
    expected_keys: tuple[str, ...] = ("images",),
) -> CocoContent:
    """Read a COCO annotation file in its one form.

    Args:
        json_file: the file.
        image_root: see :func:`normalized_coco`, as ``outside_root``.
        expected_keys: what the file must have at the top level.

    Raises:
        FileNotFoundError: if there is no such file.
        KeyError, ValueError: see :func:`normalized_coco`.
    """
    with paused_collector():
        content = read_json(json_file, expected_keys=expected_keys)
        where = name_of_file(json_file)
        return normalized_coco(content, where, image_root=image_root, outside_root=outside_root)


def name_of_file(json_file: str | os.PathLike[str]) -> str:
    """What an annotation file is called in messages."""
    return f"annotation file {os.fspath(json_file)!r}"


def in_order_of_ids(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries sorted by their ids, numbers before text."""
    return sorted(entries, key=lambda entry: (isinstance(entry["id"], str), entry["id"]))


def _categories(content: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    categories = _entries(content, "categories", "category", where)
    for category in categories:
        if not isinstance(category.get("name"), str):
            raise ValueError(f"{where}: 'name' is missing from {shortened(category, 200)}")
    return categories


def _entries(content: Mapping[str, Any], key: str, kind: str, where: str) -> list[dict[str, Any]]:
    """A list of the file, once it is known that its entries have ids, all different."""
    entries = _list(content.get(key), key, where)
    seen = set()
    for entry in entries:
        identity = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(identity, float) and identity.is_integer():
            identity = entry["id"] = int(identity)
        if not isinstance(identity, int | str):
            raise ValueError(
                f"{where}: an entry of {kind} kind lacks 'id', a number or text: "
                f"{shortened(entry, 200)}"
            )
        if identity in seen:
            raise ValueError(f"{where}: the {kind} id {identity!r} occurs more than once")
        seen.add(identity)
    return entries


def _list(value: Any, key: str, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{where} has {key!r} of type {type(value).__name__}; wanted a list")
    return value
