"""Pascal VOC folders: an XML file per image, lists of images, and the images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from d2_config.files import write_atomically
from d2_data.annotations import normalized_record
from d2_data.conversion.splits import Split
from d2_structures import BoxMode

__all__ = ["write_voc"]


def write_voc(folder: Path, split: Split, names: Sequence[str]) -> Counter[str]:
    """Write the annotations and the list of a split.

    Boxes get VOC's corners, which count pixels from 1; fractions of pixels are kept.

    Args:
        folder: of the dataset.
        split: what to write.
        names: of its images below ``JPEGImages``.

    Returns:
        What the format cannot hold, counted: crowds are left out, masks and keypoints too, and a
        rotated box becomes the upright one around it.
    """
    lost: Counter[str] = Counter()
    identities = [str(Path(name).with_suffix("")) for name in names]
    for record, name, identity in zip(split.records, names, identities, strict=True):
        root = _annotation(normalized_record(dict(record)), name, split.classes, lost)
        ElementTree.indent(root, "\t")
        text = ElementTree.tostring(root, encoding="unicode") + "\n"
        write_atomically(folder / "Annotations" / f"{identity}.xml", text)
    lines = "".join(f"{identity}\n" for identity in identities)
    write_atomically(folder / "ImageSets" / "Main" / f"{split.name}.txt", lines)
    return lost


def _annotation(
    record: Mapping[str, Any], name: str, classes: Sequence[str], lost: Counter[str]
) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", name)
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", record["width"]), ("height", record["height"]), ("depth", 3)):
        _add(size, side, value)
    _add(root, "segmented", 0)
    image_size = record["height"], record["width"]
    for annotation in record.get("annotations", ()):
        if annotation.get("iscrowd"):
            lost["crowds left out"] += 1
            continue
        for key in ("segmentation", "keypoints"):
            lost[f"{key} left out"] += key in annotation
        lost["rotated boxes made upright"] += annotation["bbox_mode"] == BoxMode.XYWHA_ABS
        root.append(_object(annotation, image_size, classes))
    return root


def _object(
    annotation: Mapping[str, Any], image_size: tuple[int, int], classes: Sequence[str]
) -> ElementTree.Element:
    entry = ElementTree.Element("object")
    _add(entry, "name", classes[annotation["category_id"]])
    _add(entry, "pose", "Unspecified")
    _add(entry, "truncated", 0)
    _add(entry, "difficult", int(annotation.get("difficult", 0)))
    x1, y1, x2, y2 = BoxMode.convert(
        list(annotation["bbox"]),
        annotation["bbox_mode"],
        BoxMode.XYXY_ABS,
        image_size=image_size,
    )
    box = ElementTree.SubElement(entry, "bndbox")
    for tag, value in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
        _add(box, tag, f"{value:.10g}")
    return entry


def _add(parent: ElementTree.Element, tag: str, value: object) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)
