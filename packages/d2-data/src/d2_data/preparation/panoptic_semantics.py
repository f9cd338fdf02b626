"""Semantic label images of Panoptic FPN, from panoptic annotations."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from d2_data.datasets.panoptic_segments import (
    PanopticAnnotation,
    PanopticContent,
    read_panoptic_json,
)
from d2_data.formats import decode_panoptic_png
from d2_data.preparation.file_by_file import Prepared, Progress, make_files, png_of

__all__ = ["prepare_panoptic_fpn_semantics", "semantic_map_of_segments"]

_UNLABELED = 255
_MOST_MATERIALS = 254


def prepare_panoptic_fpn_semantics(
    panoptic_json: str | os.PathLike[str],
    panoptic_root: str | os.PathLike[str],
    sem_seg_root: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Write a label image for each panoptic annotation.

    Class 0 stands for every object, classes from 1 for the materials in the order of the file's
    categories, and 255 for pixels of no segment.

    Args:
        panoptic_json: annotations in COCO's panoptic format, with ``categories``.
        panoptic_root: the folder of its PNGs.
        sem_seg_root: the folder to write into; files are named as the PNGs.
        overwrite: whether to make files that are there already.
        num_workers: threads; None takes one per core.
        progress: shows how far it is.

    Raises:
        FileNotFoundError: if a file is absent.
        KeyError: if a segment has a category that the file does not declare.
        ValueError: if the file is malformed, or has more than 254 materials.
    """
    content = read_panoptic_json(panoptic_json, expected_keys=("annotations", "categories"))
    labels = _labels(content)
    root = Path(panoptic_root)
    return make_files(
        content.annotations,
        lambda annotation: Path(sem_seg_root) / annotation.file_name,
        partial(_label_png, root=root, labels=labels, where=content.where),
        description=Path(panoptic_json).stem,
        overwrite=overwrite,
        num_workers=num_workers,
        progress=progress,
    )


def semantic_map_of_segments(
    ids: np.ndarray, segments: Sequence[Mapping[str, Any]], labels: Mapping[int, int]
) -> np.ndarray:
    """The label of each pixel.

    Args:
        ids: (H, W) int, the segment of each pixel.
        segments: each with ``id`` and ``category_id``.
        labels: of each category, 0 to 254.

    Returns:
        (H, W) uint8; 255 for pixels of no segment.
    """
    semantic = np.full(ids.shape, _UNLABELED, dtype=np.uint8)
    for segment in segments:
        semantic[ids == segment["id"]] = labels[segment["category_id"]]
    return semantic


def _labels(content: PanopticContent) -> dict[int, int]:
    """The label of each category: 0 for objects, 1, 2, … for materials."""
    materials = [category["id"] for category in content.categories if not category["isthing"]]
    if len(materials) > _MOST_MATERIALS:
        raise ValueError(
            f"{content.where} has {len(materials)} materials; label images of 8 bits hold "
            f"{_MOST_MATERIALS} beside 0 for objects and {_UNLABELED} for nothing"
        )
    labels = {category["id"]: 0 for category in content.categories if category["isthing"]}
    return labels | {category: index for index, category in enumerate(materials, start=1)}


def _label_png(
    annotation: PanopticAnnotation, *, root: Path, labels: Mapping[int, int], where: str
) -> bytes:
    named = f"{where}: the annotation of image {annotation.image_id!r}"
    unknown = {segment["category_id"] for segment in annotation.segments} - labels.keys()
    if unknown:
        raise KeyError(
            f"{named} has segments of the categories {sorted(unknown)}, which the file's "
            "'categories' do not declare"
        )
    png = root / annotation.file_name
    try:
        ids = decode_panoptic_png(png)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{named}: its PNG {str(png)!r} does not exist; extract the archive of panoptic PNGs "
            "there"
        ) from None
    except OSError as error:
        raise ValueError(f"{named}: its PNG {str(png)!r} cannot be read: {error}") from error
    return png_of(semantic_map_of_segments(ids, annotation.segments, labels))
