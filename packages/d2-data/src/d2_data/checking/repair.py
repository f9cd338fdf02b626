"""Writing a dataset anew with what can be mended safely."""

import json
import os
from collections.abc import Iterator
from typing import Any

import attrs

from d2_config.files import write_atomically
from d2_data.annotations import segmentation_area, segmentation_box
from d2_data.checking.content import CheckedImage, CheckedObject
from d2_data.checking.objects import needs_numbers
from d2_data.checking.report import DatasetReport

_SAYS = ("category_id", "bbox", "iscrowd", "segmentation", "keypoints")

_LEFT_OUT = {
    "malformed": "left out, as it cannot be understood",
    "image-id-repeated": "left out, as another image has its id",
    "category-id-repeated": "left out, as another category has its id",
    "category-unknown": "left out, as its category is not declared",
    "image-unknown": "left out, as its image is not listed",
}


@attrs.frozen
class Repair:
    """One thing that was changed.

    Attributes:
        kind: of the finding that it mends, a key of :data:`~d2_data.checking.KINDS`.
        subject: what was changed: an image, an object, or all objects.
        change: what was done.
    """

    kind: str
    subject: str
    change: str


def write_repaired(report: DatasetReport, path: str | os.PathLike[str]) -> list[Repair]:
    """Write a dataset that was checked as a COCO annotation file, mended.

    Args:
        report: of the check.
        path: the file to write; folders are made.

    Returns:
        What was changed, in the order of the dataset.
    """
    content, repairs = repaired_content(report)
    write_atomically(path, json.dumps(content, ensure_ascii=False))
    return repairs


def repaired_content(report: DatasetReport) -> tuple[dict[str, Any], list[Repair]]:
    """Mend a dataset that was checked.

    Annotations get their one form, with ``area`` and ``iscrowd``; boxes are cut at the edges of
    their images; boxes without an area become those of the masks; masks without a pixel are left
    out; of objects that are annotated twice one is left out, and so are objects without an area
    and entries that cannot be understood. Annotations are numbered anew where metrics would
    mistake their ids. Images are not touched, neither are their files.

    Args:
        report: of the check.

    Returns:
        The content of a COCO annotation file, and what was changed.
    """
    content = report.content
    repairs = [
        Repair(finding.kind, finding.subject, _LEFT_OUT[finding.kind])
        for finding in report.findings
        if finding.kind in _LEFT_OUT
    ]
    images = []
    placed: list[tuple[int, dict[str, Any]]] = []
    for image in content.images.values():
        images.append(_image(image, repairs))
        kept: list[tuple[dict[str, Any], str]] = []
        for one in image.objects:
            annotation, changes = _annotation(one)
            original = next((label for k, label in kept if _is_same(k, annotation)), None)
            if original is not None:
                change = f"left out, as it is the same as {original}"
                changes = [Repair("object-repeated", one.label, change)]
            elif annotation is not None:
                kept.append((annotation, one.label))
                placed.append((one.place, annotation))
            repairs += changes
    annotations = [annotation for _, annotation in sorted(placed, key=lambda item: item[0])]
    if needs_numbers(content):
        repairs.append(Repair("object-id-repeated", "all objects", "numbered anew from 1"))
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    others = {**content.others, "categories": list(content.categories.values())}
    return {**others, "images": images, "annotations": annotations}, repairs


def _image(image: CheckedImage, repairs: list[Repair]) -> dict[str, Any]:
    entry = {**image.entry, "file_name": image.name}
    if image.size is not None:
        entry["height"], entry["width"] = image.size
    if image.size is not None and (image.entry.get("height"), image.entry.get("width")) != (
        image.size
    ):
        change = f"given the size {image.width}x{image.height} of its file"
        repairs.append(Repair("written-otherwise", image.label, change))
    if image.entry["file_name"] != image.name:
        change = "given slashes in its name"
        repairs.append(Repair("written-otherwise", image.label, change))
    return entry


def _is_same(one: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Whether two mended annotations of an image say the same, but for their ids."""
    return other is not None and all(one.get(field) == other.get(field) for field in _SAYS)


def _annotation(one: CheckedObject) -> tuple[dict[str, Any] | None, list[Repair]]:
    """The mended annotation, or None for one that is left out, and what was changed."""
    annotation = dict(one.normal)
    repairs = [Repair(kind, one.label, change) for kind, change in _mended(one, annotation)]
    if annotation["bbox"][2] <= 0 or annotation["bbox"][3] <= 0:
        change = "left out, as it has no area in its image"
        return None, [Repair("box-degenerate", one.label, change)]
    annotation.setdefault("iscrowd", 0)
    segmentation = annotation.get("segmentation")
    if "area" not in annotation:
        area = None if segmentation is None else segmentation_area(segmentation, one.image.size)
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3] if area is None else area
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):
        annotation["segmentation"] = {**segmentation, "counts": segmentation["counts"].decode()}
    return annotation, repairs


def _mended(one: CheckedObject, annotation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Mend the mask and the box of an annotation in place; say what was done."""
    if one.mended:
        yield "written-otherwise", f"written in COCO's form: {', '.join(one.mended)}"
    if one.invalid_polygons:
        yield "polygon-short", f"{one.invalid_polygons} polygons left out"
    segmentation = annotation.get("segmentation")
    if segmentation is not None and segmentation_area(segmentation, one.image.size) == 0:
        del annotation["segmentation"]
        yield "mask-empty", "its mask, which has no pixel, left out"
        segmentation = None
    box = annotation["bbox"]
    if segmentation is not None and (box[2] <= 0 or box[3] <= 0):
        annotation["bbox"] = segmentation_box(segmentation)
        yield "box-degenerate", f"given the box of its mask, {annotation['bbox']}"
    cut = _cut(annotation["bbox"], one.image.size)
    if cut != annotation["bbox"]:
        yield "box-outside", f"its box {annotation['bbox']} cut to {cut}"
        annotation["bbox"] = cut


def _cut(box: list[float], size: tuple[int, int] | None) -> list[float]:
    """A box within its image; a rotated one, or one in an image of unknown size, as it is."""
    if size is None or len(box) == 5:
        return box
    x, y, width, height = box
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, size[1]), min(y + height, size[0])
    if (left, top) == (x, y) and right == x + width and bottom == y + height:
        return box
    return [left, top, right - left, bottom - top]
