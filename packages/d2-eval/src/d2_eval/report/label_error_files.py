"""Annotations that may be wrong, in the formats of tools that mend them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from d2_config.files import write_atomically
from d2_eval.report.analysis.compared import Compared
from d2_eval.report.analysis.label_errors import Suspicion

COCO_FILE = "label_errors.json"
CVAT_FILE = "label_errors_cvat.xml"
FIFTYONE_FOLDER = "label_errors_fiftyone"

Entry = dict[str, Any]


def write_label_errors(
    folder: Path,
    both: Compared,
    suspicions: Sequence[Suspicion],
    paths: Mapping[int, Path],
) -> list[str]:
    """Write what is suspected three times.

    ``label_errors.json`` is an annotation file of COCO's format; ``label_errors_cvat.xml`` is
    "CVAT for images 1.1"; ``label_errors_fiftyone`` is a folder of FiftyOne's type
    ``FiftyOneImageDetectionDataset``. Each object says what is suspected: ``suspicion``, the
    prediction's ``score``, and the id of the annotation that it is about.

    Args:
        folder: where to write.
        both: annotations and predictions.
        suspicions: what may be wrong.
        paths: the files of those images that were found, by the places of the images.

    Returns:
        The names of the files, relative to the folder.
    """
    entries = [_entry(both, number, one) for number, one in enumerate(suspicions, start=1)]
    places = sorted({entry["place"] for entry in entries})
    images = [both.images[place] for place in places]
    categories = [
        {"id": identity, "name": name}
        for identity, name in zip(both.category_ids, both.class_names, strict=True)
    ]
    coco = {
        "info": {"description": "annotations that may be wrong or missing"},
        "images": images,
        "categories": categories,
        "annotations": [_coco_annotation(both, entry) for entry in entries],
    }
    write_atomically(folder / COCO_FILE, json.dumps(coco))
    write_atomically(folder / CVAT_FILE, _cvat(both, entries, places))
    labels, manifest = _fiftyone(both, entries, places, paths)
    write_atomically(folder / FIFTYONE_FOLDER / "labels.json", json.dumps(labels))
    write_atomically(folder / FIFTYONE_FOLDER / "data.json", json.dumps(manifest))
    return [COCO_FILE, CVAT_FILE, f"{FIFTYONE_FOLDER}/labels.json"]


def _entry(both: Compared, number: int, one: Suspicion) -> Entry:
    """What all formats say of an object: its class is the predicted one where there is any."""
    detections, truths = both.detections, both.truths
    by_truth = one.detection < 0
    index = one.truth if by_truth else one.detection
    source: Any = truths if by_truth else detections
    outlines = truths.outlines if by_truth else detections.masks
    attributes: Entry = {"suspicion": one.kind}
    if not by_truth:
        attributes["score"] = round(float(detections.scores[index]), 4)
    if one.truth >= 0:
        attributes["annotation_id"] = truths.ids[one.truth]
        attributes["annotated_as"] = both.class_names[truths.classes[one.truth]]
    return {
        "number": number,
        "place": int(source.images[index]),
        "label": int(source.classes[index]),
        "box": [round(float(value), 2) for value in source.boxes[index]],
        "area": round(float(source.areas[index]), 2),
        "outline": outlines[index] if outlines is not None else None,
        "attributes": attributes,
    }


def _coco_annotation(both: Compared, entry: Entry) -> Entry:
    annotation = {
        "id": entry["number"],
        "image_id": both.images[entry["place"]]["id"],
        "category_id": both.category_ids[entry["label"]],
        "bbox": entry["box"],
        "area": entry["area"],
        "iscrowd": 0,
        "attributes": entry["attributes"],
    }
    if "score" in entry["attributes"]:
        annotation["score"] = entry["attributes"]["score"]
    outline = entry["outline"]
    if outline is not None:
        annotation["segmentation"] = _plain(outline)
    return annotation


def _plain(outline: Any) -> Any:
    """An outline as JSON knows it: counts as text."""
    if isinstance(outline, Mapping) and isinstance(outline["counts"], bytes):
        return {"size": list(outline["size"]), "counts": outline["counts"].decode("ascii")}
    return outline


def _cvat(both: Compared, entries: Sequence[Entry], places: Sequence[int]) -> bytes:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    of_place: dict[int, list[Entry]] = {place: [] for place in places}
    for entry in entries:
        of_place[entry["place"]].append(entry)
    for number, place in enumerate(places):
        image = both.images[place]
        width, height = _size(both, of_place[place], place)
        node = ElementTree.SubElement(
            root,
            "image",
            id=str(number),
            name=_name(image),
            width=f"{width:g}",
            height=f"{height:g}",
        )
        for entry in of_place[place]:
            _cvat_box(node, both.class_names[entry["label"]], entry)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _cvat_box(image: ElementTree.Element, label: str, entry: Entry) -> None:
    x, y, width, height = entry["box"]
    box = ElementTree.SubElement(
        image,
        "box",
        label=label,
        source="auto",
        occluded="0",
        xtl=f"{x:.2f}",
        ytl=f"{y:.2f}",
        xbr=f"{x + width:.2f}",
        ybr=f"{y + height:.2f}",
        z_order="0",
    )
    for name, value in entry["attributes"].items():
        ElementTree.SubElement(box, "attribute", name=name).text = str(value)


def _fiftyone(
    both: Compared, entries: Sequence[Entry], places: Sequence[int], paths: Mapping[int, Path]
) -> tuple[Entry, dict[str, str]]:
    """Objects by image, in shares of its sides, and where the images are."""
    labels: dict[str, list[Entry]] = {_key(both, place): [] for place in places}
    for entry in entries:
        width, height = _size(both, entries, entry["place"])
        x, y, w, h = entry["box"]
        detection: Entry = {
            "label": entry["label"],
            "bounding_box": [x / width, y / height, w / width, h / height],
            "attributes": entry["attributes"],
        }
        if "score" in entry["attributes"]:
            detection["confidence"] = entry["attributes"]["score"]
        labels[_key(both, entry["place"])].append(detection)
    manifest = {
        _key(both, place): str(paths[place].resolve())
        if place in paths
        else _name(both.images[place])
        for place in places
    }
    return {"classes": list(both.class_names), "labels": labels}, manifest


def _key(both: Compared, place: int) -> str:
    """FiftyOne's name of an image, which has no dot: what follows one counts as a suffix."""
    return f"image-{both.images[place]['id']}".replace(".", "-")


def _name(image: Mapping[str, Any]) -> str:
    return str(image.get("file_name", image["id"]))


def _size(both: Compared, entries: Sequence[Entry], place: int) -> tuple[float, float]:
    """(width, height) of an image; where the file does not say it, what its objects need."""
    image = both.images[place]
    if image.get("width") and image.get("height"):
        return image["width"], image["height"]
    corners = [
        (entry["box"][0] + entry["box"][2], entry["box"][1] + entry["box"][3])
        for entry in entries
        if entry["place"] == place
    ]
    return max(x for x, _ in corners), max(y for _, y in corners)
