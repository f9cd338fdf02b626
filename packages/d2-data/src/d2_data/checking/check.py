"""Checking a whole dataset: its annotations, and the head of every image file."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d2_data.annotation_file import paused_collector
from d2_data.builtin_datasets import builtin_names
from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.checking.content import CheckedContent, content_of_file, content_of_records
from d2_data.checking.findings import KINDS, Finding
from d2_data.checking.image_files import ImageHead, Progress, read_heads, repeated_files
from d2_data.checking.objects import check_categories, check_crowds, check_objects
from d2_data.checking.report import DatasetReport
from d2_data.checking.statistics import statistics_of
from d2_data.image_root import OutsideRoot

_SEVERITIES = ("error", "warning", "note")


def check_dataset(
    dataset: str | os.PathLike[str] | Metadata,
    image_root: str | os.PathLike[str] | None = None,
    *,
    outside_root: OutsideRoot | None = None,
    decode: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> DatasetReport:
    """Look for everything in a dataset that may stop training or evaluation, or make it wrong.

    Nothing is raised for what is wrong within the dataset: it is in the report.

    Args:
        dataset: the path of a COCO annotation file (.json), or a dataset's name in the catalogs,
            or its ``Metadata``.
        image_root: the folder that the file names are relative to; by default that of the
            annotation file, or what the metadata say.
        outside_root: what may lie outside of it, as for
            :func:`~d2_data.datasets.load_coco_json`; by default what the dataset was registered
            with, and nothing of an annotation file.
        decode: whether to decode every image wholly, which finds all that is damaged. Otherwise
            the beginning and the end of each file are read.
        threads: how many files are read at the same time; by default four per processor.
        progress: takes an iterable and its length and yields its elements, to show how far it is:
            :func:`d2_eval.progress` serves.

    Raises:
        FileNotFoundError: if the annotation file does not exist.
        KeyError: if the name is not known.
        ValueError: if the file is not JSON, or has no images.
    """
    began = time.perf_counter()
    with paused_collector():
        content = _content(dataset, image_root, outside_root)
        images = list(content.images.values())
        paths = [image.path for image in images]
        heads = read_heads(
            paths, decode=decode, threads=threads or 4 * (os.cpu_count() or 1), progress=progress
        )
        findings = [
            *content.findings,
            *_check_files(content, heads),
            *check_objects(content),
            *check_categories(content),
            *check_crowds(content),
        ]
        places = {kind: place for place, kind in enumerate(KINDS)}
        findings.sort(key=lambda one: (_SEVERITIES.index(one.severity), places[one.kind]))
        return DatasetReport(
            content.name,
            statistics_of(content),
            tuple(findings),
            time.perf_counter() - began,
            content,
        )


def _content(
    dataset: str | os.PathLike[str] | Metadata,
    image_root: str | os.PathLike[str] | None,
    outside_root: OutsideRoot | None,
) -> CheckedContent:
    if not isinstance(dataset, Metadata) and is_annotation_file(dataset):
        folder = Path(dataset).parent if image_root is None else image_root
        return content_of_file(dataset, folder, outside_root or "refuse")
    return _registered_content(dataset, image_root, outside_root)


def is_annotation_file(dataset: str | os.PathLike[str]) -> bool:
    """Whether a dataset is named by its annotation file."""
    return isinstance(dataset, os.PathLike) or (
        dataset.endswith(".json") and not dataset.startswith("coco:")
    )


def _registered_content(
    dataset: Any, image_root: str | os.PathLike[str] | None, outside_root: OutsideRoot | None
) -> CheckedContent:
    name = dataset.name if isinstance(dataset, Metadata) else dataset
    registered = name in DatasetCatalog
    metadata = dataset if isinstance(dataset, Metadata) else MetadataCatalog.get(name)
    json_file = metadata.get("json_file")
    if json_file is not None and metadata.get("evaluator_type") == "coco":
        if registered and not os.path.exists(json_file):
            DatasetCatalog.get(name)  # a dataset that is generated when first read
        content = content_of_file(
            json_file,
            metadata.get("image_root", "") if image_root is None else image_root,
            outside_root or metadata.get("outside_root") or _usual(name),
        )
        content.name = name
        return content
    records: Any = DatasetCatalog.get(name)
    return content_of_records(name, records, metadata)


def _usual(name: str) -> OutsideRoot:
    """What a dataset is registered with: folders of built-in ones may be links."""
    return "links" if name in builtin_names() else "refuse"


def _check_files(content: CheckedContent, heads: list[ImageHead]) -> Iterator[Finding]:
    images = list(content.images.values())
    for image, head in zip(images, heads, strict=True):
        for kind, message in _of_file(image.size, head):
            yield Finding(kind, image.label, message, image.id)
        if image.size is None and head.height:
            image.height, image.width = head.height, head.width
        if not image.objects:
            yield Finding("image-empty", image.label, "has no objects", image.id)
    for first, *others in repeated_files([image.path for image in images], heads):
        for place in others:
            message = f"is the same file as {images[first].label}"
            yield Finding("picture-repeated", images[place].label, message, images[place].id)


def _of_file(size: tuple[int, int] | None, head: ImageHead) -> Iterator[tuple[str, str]]:
    if head.trouble is not None:
        yield head.trouble, head.message
    if not head.height:
        return
    if head.orientation != 1:
        yield "image-turned", f"has the EXIF orientation {head.orientation}"
    if size is not None and size != (head.height, head.width):
        turned = size == (head.width, head.height)
        yield (
            "size-mismatch",
            f"is {head.width}x{head.height} (width x height), annotated is {size[1]}x{size[0]}"
            + ("; it was annotated lying on its side" if turned else ""),
        )
