"""Pascal VOC's annotation format: an XML file per image.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.image_reading import read_image_size
from d2_data.image_root import check_name_below
from d2_data.located_errors import located
from d2_structures import BoxMode

__all__ = ["load_voc_instances", "register_pascal_voc", "voc_class_names"]

_logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def register_pascal_voc(
    name: str,
    dirname: StrPath,
    split: str,
    year: int | str,
    class_names: Sequence[str] | None = None,
) -> None:
    """Register a dataset in Pascal VOC's format for detection.

    Args:
        name: the name that identifies the dataset, e.g. ``"voc_2007_trainval"``.
        dirname: the folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        split: see :func:`load_voc_instances`.
        year: of the challenge; decides how its metric is computed.
        class_names: of the dataset, in the model's order; None for the challenge's 20.

    Raises:
        ValueError: if the name is taken.
    """
    if class_names is None:
        class_names = read_vocabulary("pascal_voc")["thing_classes"]
    DatasetCatalog.register(name, partial(load_voc_instances, dirname, split, list(class_names)))
    MetadataCatalog.get(name).set(
        thing_classes=list(class_names),
        dirname=os.fspath(dirname),
        year=year,
        split=split,
        evaluator_type="pascal_voc",
    )


def load_voc_instances(
    dirname: StrPath, split: str, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Read Pascal VOC's boxes into standard dataset dicts.

    The format counts pixels from 1 and includes the last one: a box from ``xmin`` to ``xmax``
    reaches from x = xmin − 1 to x = xmax here. Objects marked as difficult are read as others, and
    have ``difficult`` 1. Boxes without an inside, or beyond their image, are kept and counted in
    a warning. Images are opened only where the annotation has no size.

    Args:
        dirname: the folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        split: names the list of images, ``ImageSets/Main/{split}.txt``: ``train``, ``val``,
            ``trainval``, ``test``, or a list of one's own.
        class_names: the classes, in the model's order.

    Returns:
        One dict per image, in the order of the list, with ``file_name``, ``image_id`` (its name),
        ``height``, ``width`` and ``annotations``.

    Raises:
        FileNotFoundError: if the list or an annotation is absent.
        ValueError: if an annotation is malformed or has another class; the message names file and
            object.
    """
    classes = {name: index for index, name in enumerate(class_names)}
    suspicious = _SuspiciousBoxes()
    records = [
        _record(Path(dirname), identity, classes, suspicious)
        for identity in _listed(Path(dirname), split)
    ]
    suspicious.report()
    _logger.info("Read %d images of %s from %s", len(records), split, os.fspath(dirname))
    return records


def voc_class_names(dirname: StrPath, splits: Sequence[str]) -> list[str]:
    """The classes that occur in some splits, sorted; see :func:`load_voc_instances`."""
    names = set()
    for split in splits:
        for identity in _listed(Path(dirname), split):
            file, root = _parsed(Path(dirname), identity)
            names |= {_text(entry, "name", place) for place, entry in _objects(root, file)}
    return sorted(names)


def _listed(dirname: Path, split: str) -> list[str]:
    """The images of a split. Lists of one class have 1, 0 or −1 behind each."""
    file = dirname / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        present = sorted(path.stem for path in file.parent.glob("*.txt"))
        raise FileNotFoundError(
            f"the list of images {str(file)!r} does not exist; a folder in Pascal VOC's format has "
            f"one for each split, this one has {present or 'none'}"
        ) from None
    return [_without_mark(line.strip()) for line in lines if line.strip()]


def _without_mark(line: str) -> str:
    identity, _, mark = line.rpartition(" ")
    return identity.strip() if identity and mark in ("1", "0", "-1") else line


def _record(
    dirname: Path, identity: str, classes: Mapping[str, int], suspicious: "_SuspiciousBoxes"
) -> dict[str, Any]:
    file, root = _parsed(dirname, identity)
    image = dirname / "JPEGImages" / f"{identity}{_suffix(root)}"
    height, width = _size(root, image, file)
    annotations = []
    for place, entry in _objects(root, file):
        name = _text(entry, "name", place)
        if name not in classes:
            raise ValueError(
                f"{place} is a {name!r}, which is none of the class_names {list(classes)}"
            )
        corners = _corners(entry, place)
        suspicious.look_at(corners, (height, width), place)
        annotation = {
            "bbox": [corners[0] - 1, corners[1] - 1, corners[2], corners[3]],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": classes[name],
        }
        if (entry.findtext("difficult") or "").strip() == "1":
            annotation["difficult"] = 1
        annotations.append(annotation)
    return {
        "file_name": str(image),
        "image_id": identity,
        "height": height,
        "width": width,
        "annotations": annotations,
    }


def _parsed(dirname: Path, identity: str) -> tuple[Path, ElementTree.Element]:
    with located(f"the list of images in {str(dirname / 'ImageSets')!r}"):
        check_name_below(identity, "the image")
    file = dirname / "Annotations" / f"{identity}.xml"
    try:
        return file, ElementTree.parse(file).getroot()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the annotation {str(file)!r} does not exist, but a list in {dirname / 'ImageSets'} "
            f"has the image {identity!r}; add the annotation or take the image from the list"
        ) from None
    except ElementTree.ParseError as error:
        raise ValueError(
            f"annotation {str(file)!r} is not valid XML ({error}); it may have been cut short: "
            "fetch or export it again"
        ) from error


def _objects(root: ElementTree.Element, file: Path) -> Iterator[tuple[str, ElementTree.Element]]:
    """The objects of an image, and what to call each in errors."""
    for number, entry in enumerate(root.findall("object"), start=1):
        yield f"annotation {str(file)!r}: object {number}", entry


def _suffix(root: ElementTree.Element) -> str:
    """The image's extension: that of its recorded name, which need not be its name any more."""
    suffix = os.path.splitext((root.findtext("filename") or "").strip())[1]
    return suffix if suffix.lower() in _IMAGE_SUFFIXES else ".jpg"


def _size(root: ElementTree.Element, image: Path, file: Path) -> tuple[int, int]:
    try:
        height, width = (
            int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width")
        )
    except ValueError as error:
        raise ValueError(f"annotation {str(file)!r}: the size is no number ({error})") from error
    if height > 0 and width > 0:
        return height, width
    try:
        return read_image_size(image)
    except OSError as error:
        raise ValueError(
            f"annotation {str(file)!r} has no size, and its image cannot be read: {error}"
        ) from error


def _corners(entry: ElementTree.Element, place: str) -> list[float]:
    texts = [_text(entry, f"bndbox/{corner}", place) for corner in _CORNERS]
    try:
        corners = [float(text) for text in texts]
    except ValueError:
        corners = [math.nan]
    if not all(map(math.isfinite, corners)):
        raise ValueError(f"{place} has the box {texts}; wanted four finite numbers")
    return corners


def _text(entry: ElementTree.Element, tag: str, place: str) -> str:
    text = (entry.findtext(tag) or "").strip()
    if not text:
        raise ValueError(f"{place} has no <{tag.replace('/', '><')}>; add it or remove the object")
    return text


class _SuspiciousBoxes:
    """Counts boxes that can hardly be meant so. They stay: losing objects in silence is worse."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def look_at(self, corners: Sequence[float], size: tuple[int, int], place: str) -> None:
        x1, y1, x2, y2 = corners
        inside = x1 >= 1 and y1 >= 1 and x2 <= size[1] and y2 <= size[0]
        if x2 > x1 and y2 > y1 and inside:
            return
        self._count += 1
        self._first = self._first or (
            f"{place} reaches from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) in an image of "
            f"{size[1]}x{size[0]}"
        )

    def report(self) -> None:
        if self._count:
            _logger.warning(
                "%d boxes are a point or a line, or leave their image; they are kept. The first: "
                "%s",
                self._count,
                self._first,
            )
