"""LVIS' annotations of the categories that COCO has too, with COCO's ids."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2_config.files import write_atomically
from d2_data.file_entries import list_of_objects, text, whole
from d2_data.formats import read_json
from d2_data.located_errors import located

__all__ = ["prepare_cocofied_lvis"]

_SYNSETS = Path(__file__).parent / "coco_synsets.json"
"""WordNet's synset of each of COCO's categories, which LVIS' categories have too."""

_LISTS = ("images", "annotations", "categories")
_CATEGORY_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


def prepare_cocofied_lvis(
    lvis_json: str | os.PathLike[str], output_file: str | os.PathLike[str]
) -> int:
    """Write a file with which models of COCO's classes can be evaluated on LVIS.

    Categories are matched by their synset, which does not change between LVIS' versions.
    Annotations, and the lists of categories of each image, keep what COCO has; annotations are
    numbered anew, and categories that occur nowhere are left out.

    Args:
        lvis_json: an LVIS annotation file.
        output_file: e.g. ``lvis_v0.5_val_cocofied.json``; folders are made.

    Returns:
        How many annotations were kept.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its categories have no ``synset``.
    """
    content = read_json(lvis_json, expected_keys=("images", "annotations", "categories"))
    where = f"annotation file {os.fspath(lvis_json)!r}"
    with located(where):
        entries = {key: list_of_objects(content, key) for key in _LISTS}
    ids = _coco_ids(entries["categories"], where)
    annotations = [
        annotation | {"id": number, "category_id": ids[annotation["category_id"]]}
        for number, annotation in enumerate(_of_coco(entries["annotations"], ids, where), start=1)
    ]
    images = [_with_coco_ids(image, ids, where) for image in entries["images"]]
    used = {annotation["category_id"] for annotation in annotations}
    used |= {category for image in images for key in _CATEGORY_LISTS for category in image[key]}
    categories = [
        category | {"id": ids[category["id"]]}
        for category in entries["categories"]
        if ids.get(category["id"]) in used
    ]
    parts = {"images": images, "annotations": annotations, "categories": categories}
    write_atomically(output_file, json.dumps(content | parts))
    return len(annotations)


def _coco_ids(categories: list[dict[str, Any]], where: str) -> dict[int, int]:
    """COCO's id of each of LVIS' categories that COCO has."""
    of_synset = {synset: int(i) for i, synset in json.loads(_SYNSETS.read_bytes()).items()}
    ids = {}
    for category in categories:
        with located(f"{where}: category {category.get('id')!r}"):
            if "synset" not in category:
                raise ValueError("has no 'synset'; is it of an LVIS file?")
            number, synset = whole(category, "id"), text(category, "synset")
        if synset in of_synset:
            ids[number] = of_synset[synset]
    return ids


def _of_coco(
    annotations: list[dict[str, Any]], ids: Mapping[int, int], where: str
) -> Iterator[dict[str, Any]]:
    for annotation in annotations:
        with located(f"{where}: annotation {annotation.get('id')!r}"):
            if whole(annotation, "category_id") in ids:
                yield annotation


def _with_coco_ids(image: Mapping[str, Any], ids: Mapping[int, int], where: str) -> dict[str, Any]:
    lists = {key: image.get(key) or [] for key in _CATEGORY_LISTS}
    for key, numbers in lists.items():
        if not isinstance(numbers, list) or not all(isinstance(i, int) for i in numbers):
            raise ValueError(
                f"{where}: image {image.get('id')!r} has {key!r} {numbers!r:.80}; wanted a list of "
                "category ids"
            )
    return {**image, **{key: [ids[i] for i in lists[key] if i in ids] for key in lists}}
