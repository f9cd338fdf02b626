"""Datasets from one format into another."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from d2_data.conversion.coco_target import write_coco
from d2_data.conversion.sources import read_splits
from d2_data.conversion.splits import Split, relative_names, with_common_classes
from d2_data.conversion.voc_target import write_voc
from d2_data.conversion.yolo_target import YOLO_TASKS, describe_yolo, write_yolo, yolo_task
from d2_data.image_reading import read_image_size

__all__ = ["PLACEMENTS", "TARGET_FORMATS", "ConvertedSplit", "convert"]

StrPath = str | os.PathLike[str]

TARGET_FORMATS = ("coco", "voc", "yolo")
PLACEMENTS = ("link", "copy", "none")

_IMAGE_FOLDERS = {"coco": "{split}", "voc": "JPEGImages", "yolo": "images/{split}"}


@attrs.frozen
class ConvertedSplit:
    """What became of a split.

    Attributes:
        name: of the split.
        images: how many there are.
        annotations: how many objects they have.
        changes: what the new format could not hold, or holds in another way, and how often.
    """

    name: str
    images: int
    annotations: int
    changes: Mapping[str, int]


def convert(
    source: StrPath,
    source_format: str,
    target: StrPath,
    target_format: str,
    *,
    splits: Sequence[str] | None = None,
    images: StrPath | None = None,
    rotated: bool = False,
    task: str | None = None,
    placement: str = "link",
) -> list[ConvertedSplit]:
    """Write a dataset in another format.

    ====  =========================================================================
    coco  ``annotations/instances_{split}.json``, images in ``{split}/``
    voc   ``Annotations``, ``ImageSets/Main``, images in ``JPEGImages``
    yolo  ``data.yaml``, ``labels/{split}``, images in ``images/{split}``
    ====  =========================================================================

    Images keep their paths below the folder that holds all of them. Classes of splits that differ
    are united by name. Keypoints are continuous coordinates in YOLO's files, pixel indices in
    COCO's.

    Args:
        source: see :func:`~d2_data.conversion.read_splits`, as ``source_format``, ``splits``,
            ``images`` and ``rotated``.
        source_format: ``"dataset"``, ``"coco"``, ``"voc"`` or ``"yolo"``.
        target: a folder that is empty or not there.
        target_format: one of the table.
        splits: which to convert.
        images: the folder of a COCO file's images.
        rotated: how four corners of YOLO's files are read.
        task: of YOLO's files: ``"detect"``, ``"segment"``, ``"pose"`` or ``"obb"``; None finds
            out what the annotations are good for.
        placement: ``"link"`` makes hard links to the images, or symbolic ones where these are on
            another file system (:func:`~d2_data.datasets.load_coco_json` follows those with
            ``outside_root="links"``); ``"copy"`` copies them, ``"none"`` writes annotations only.

    Returns:
        What was written, by split.

    Raises:
        FileExistsError: if the folder holds something.
        FileNotFoundError: if files are absent.
        ValueError: if an argument is none of the above, or an annotation cannot be read.
    """
    _check(target, target_format, task, placement)
    read = read_splits(source, source_format, splits, images=images, rotated=rotated)
    parts = [_with_sizes(split) for split in with_common_classes(read)]
    names = {split.name: relative_names(split) for split in parts}
    if len(names) < len(parts):
        raise ValueError(f"splits have the same name: {[split.name for split in parts]}")
    root = Path(target)
    if target_format == "voc":
        _check_disjoint(names)
    if target_format == "yolo":
        task = task or yolo_task(parts)
        describe_yolo(root, parts, task)
    converted = []
    for split in parts:
        changes = _write(root, split, names[split.name], target_format, task)
        folder = root / _IMAGE_FOLDERS[target_format].format(split=split.name)
        _place_images(split, names[split.name], folder, placement)
        count = sum(len(record.get("annotations", ())) for record in split.records)
        converted.append(ConvertedSplit(split.name, len(split.records), count, +changes))
    return converted


def _check(target: StrPath, target_format: str, task: str | None, placement: str) -> None:
    for what, value, known in (
        ("target_format", target_format, TARGET_FORMATS),
        ("placement", placement, PLACEMENTS),
        ("task", task, (None, *YOLO_TASKS)),
    ):
        if value not in known:
            raise ValueError(f"{what} is one of {list(known)}, got {value!r}")
    if task is not None and target_format != "yolo":
        raise ValueError(f"a task is chosen for 'yolo', the format is {target_format!r}")
    folder = Path(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{str(folder)!r} is not an empty folder; name another one")


def _write(
    root: Path, split: Split, names: Sequence[str], target_format: str, task: str | None
) -> Counter[str]:
    if target_format == "coco":
        return write_coco(root, split, names)
    if target_format == "voc":
        return write_voc(root, split, names)
    assert task is not None
    return write_yolo(root, split, names, task)


def _with_sizes(split: Split) -> Split:
    """A split whose records know the sizes of their images, and have annotations."""
    return attrs.evolve(split, records=[_with_size(record) for record in split.records])


def _with_size(record: Mapping[str, Any]) -> dict[str, Any]:
    completed = {"annotations": [], **record}
    if not (completed.get("height") and completed.get("width")):
        completed["height"], completed["width"] = read_image_size(record["file_name"])
    return completed


def _check_disjoint(names: Mapping[str, Sequence[str]]) -> None:
    """VOC keeps the images of all splits in one folder."""
    seen: dict[str, str] = {}
    for split, files in names.items():
        for file in files:
            if file in seen:
                raise ValueError(
                    f"the splits {seen[file]!r} and {split!r} both have an image {file!r}, and "
                    "Pascal VOC has one folder for all; rename one, or convert the splits one by "
                    "one into folders of their own"
                )
            seen[file] = split


def _place_images(split: Split, names: Sequence[str], folder: Path, placement: str) -> None:
    if placement == "none":
        return
    for record, name in zip(split.records, names, strict=True):
        image, place = Path(record["file_name"]).resolve(), folder / name
        if not image.is_file():
            raise FileNotFoundError(
                f"the image {str(record['file_name'])!r} of split {split.name!r} does not exist; "
                "placement='none' converts the annotations alone"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        if placement == "copy":
            shutil.copyfile(image, place)
        else:
            _link(place, image)


def _link(place: Path, image: Path) -> None:
    """Make a link that does not lead out of its folder, where the file system can."""
    try:
        place.hardlink_to(image)
    except OSError:  # another file system, or one without such links
        place.symlink_to(image)
