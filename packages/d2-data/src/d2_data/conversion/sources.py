"""Where the parts of a dataset are found, format by format."""

import os
from collections.abc import Sequence
from pathlib import Path

from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.conversion.splits import Split
from d2_data.datasets.coco_folder import coco_folder
from d2_data.datasets.pascal_voc import load_voc_instances, voc_class_names
from d2_data.datasets.yolo import (
    YoloDescription,
    load_yolo,
    read_yolo_description,
    yolo_metadata,
)

__all__ = ["SOURCE_FORMATS", "read_splits"]

SOURCE_FORMATS = ("dataset", "coco", "voc", "yolo")

_SPLITS = ("train", "val", "test")
_ROBOFLOW_FILE = "_annotations.coco.json"
_ROBOFLOW_SPLITS = {"val": "valid"}


def read_splits(
    source: str | os.PathLike[str],
    source_format: str,
    splits: Sequence[str] | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
    rotated: bool = False,
) -> list[Split]:
    """Read the parts of a dataset.

    ========  ======================================================================
    dataset   the name of a registered or built-in dataset
    coco      an annotation file; a folder with ``annotations/instances_{split}.json``
              and ``{split}/``; or one with ``{split}/_annotations.coco.json``
    voc       a folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``
    yolo      a YAML file, or the folder of a ``data.yaml``
    ========  ======================================================================

    Args:
        source: the dataset.
        source_format: one of the table.
        splits: which to read; None reads those of ``train``, ``val`` and ``test`` that are there.
            One file, or one registered dataset, is one split; a name given here names it, else it
            is ``val`` or ``test`` where its own name has this in it, or ``train``.
        images: the folder of the images of a COCO file; by default its own.
        rotated: whether four corners in YOLO's files are a rotated box instead of a polygon.

    Raises:
        ValueError: if the format is none of these, or an option is for another one.
        FileNotFoundError: if files are absent; says what is expected where.
    """
    if source_format not in SOURCE_FORMATS:
        raise ValueError(f"datasets are read from {list(SOURCE_FORMATS)}, not {source_format!r}")
    if images is not None and (source_format != "coco" or not os.path.isfile(source)):
        raise ValueError("a folder of images can be given only for a COCO annotation file")
    if rotated and source_format != "yolo":
        raise ValueError("rotated is for YOLO's files; other formats say so themselves")
    if source_format == "dataset":
        name = os.fspath(source)
        return [_named_split(name, splits, _guessed(name))]
    if source_format == "voc":
        return _voc_splits(Path(source), splits)
    if source_format == "yolo":
        return _yolo_splits(Path(source), splits, rotated)
    if os.path.isfile(source):
        return [_named_split(coco_folder(source, images), splits, _guessed(Path(source).stem))]
    return _coco_splits(Path(source), splits)


def _named_split(dataset: str, splits: Sequence[str] | None, default: str) -> Split:
    """A dataset of the catalogs as the one split that it is."""
    if splits is not None and len(splits) != 1:
        raise ValueError(f"{dataset!r} is one split, so one name is wanted, got {list(splits)}")
    records = DatasetCatalog.get(dataset)
    return Split(splits[0] if splits else default, records, MetadataCatalog.get(dataset))


def _guessed(name: str) -> str:
    """The split that a name speaks of."""
    return next((split for split in ("val", "test") if split in name.lower()), "train")


def _coco_splits(folder: Path, splits: Sequence[str] | None) -> list[Split]:
    found = {split: place for split in splits or _SPLITS if (place := _coco_place(folder, split))}
    missing = [split for split in splits or () if split not in found]
    if missing or not found:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no COCO annotations of {missing or list(_SPLITS)}: expected is "
            "annotations/instances_{split}.json beside the images in {split}/, or {split}/"
            f"{_ROBOFLOW_FILE} among them; or name an annotation file instead"
        )
    return [_named_split(coco_folder(*place), [split], split) for split, place in found.items()]


def _coco_place(folder: Path, split: str) -> tuple[Path, Path] | None:
    """The annotation file of a split and its images."""
    file = folder / "annotations" / f"instances_{split}.json"
    if file.is_file():
        return file, folder / split
    for name in (split, _ROBOFLOW_SPLITS.get(split, split)):
        file = folder / name / _ROBOFLOW_FILE
        if file.is_file():
            return file, folder / name
    return None


def _voc_splits(folder: Path, splits: Sequence[str] | None) -> list[Split]:
    lists = folder / "ImageSets" / "Main"
    chosen = splits or [split for split in _SPLITS if (lists / f"{split}.txt").is_file()]
    if not chosen:
        raise FileNotFoundError(
            f"there is none of {list(_SPLITS)} in {str(lists)!r}; a folder in Pascal VOC's format "
            "lists the images of each split there"
        )
    classes = voc_class_names(folder, chosen)
    ids = {index + 1: index for index in range(len(classes))}
    metadata = Metadata(
        name=folder.name,
        thing_classes=classes,
        thing_dataset_id_to_contiguous_id=ids,
        image_root=str(folder / "JPEGImages"),
    )
    return [Split(split, load_voc_instances(folder, split, classes), metadata) for split in chosen]


def _yolo_splits(source: Path, splits: Sequence[str] | None, rotated: bool) -> list[Split]:
    file = source / "data.yaml" if source.is_dir() else source
    description = read_yolo_description(file)
    known = yolo_metadata(description)
    # Classes are numbered from 0 here, categories of COCO from 1.
    numbers = known["thing_dataset_id_to_contiguous_id"]
    known["thing_dataset_id_to_contiguous_id"] = {i + 1: i for i in numbers.values()}
    return [
        Split(
            split,
            load_yolo(file, split, rotated=rotated),
            Metadata(
                name=file.parent.name or file.stem, **known, image_root=_root(description, split)
            ),
        )
        for split in splits or description.sources
    ]


def _root(description: YoloDescription, split: str) -> str | None:
    """The folder of a split's images, where it is one."""
    sources = description.sources.get(split, ())
    return str(sources[0]) if len(sources) == 1 else None
