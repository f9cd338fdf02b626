"""Cityscapes' objects as standard dataset dicts."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from d2_data.datasets.cityscapes.drawing import draw_instance_ids, read_polygons
from d2_data.datasets.cityscapes.files import CityscapesFrame, cityscapes_frames
from d2_data.datasets.cityscapes.labels import cityscapes_labels
from d2_data.formats import mask_polygons, read_label_map
from d2_ops.host import rle_encode
from d2_structures import BoxMode

__all__ = ["load_cityscapes_instances"]

_logger = logging.getLogger(__name__)


def load_cityscapes_instances(
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    from_json: bool = True,
    to_polygons: bool = True,
) -> list[dict[str, Any]]:
    """Read the objects of the eight classes that are told apart.

    A mask is what is seen of an object: later objects of the file cover earlier ones. Outlines of
    groups, ``cargroup`` and others, are crowds.

    Args:
        image_dir: e.g. ``leftImg8bit/train``; see :func:`cityscapes_frames`.
        gt_dir: e.g. ``gtFine/train``.
        from_json: draw the polygons of ``…_polygons.json``; otherwise ``…_instanceIds.png``, which
            was made in the same way, is read.
        to_polygons: masks as polygons along the edges of their pixels, otherwise as run lengths.

    Returns:
        One dict per image, ``image_id`` being the name of its file.

    Raises:
        FileNotFoundError: if a folder or a file is absent.
        ValueError: if a file is malformed.
    """
    frames = cityscapes_frames(image_dir, gt_dir)
    read = partial(_record, from_json=from_json, to_polygons=to_polygons)
    # Reading and drawing a frame of two million pixels leaves Python's lock alone most of the time.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        records = list(pool.map(read, frames))
    _logger.info("Read %d images from %s", len(records), os.fspath(image_dir))
    return records


def _record(frame: CityscapesFrame, *, from_json: bool, to_polygons: bool) -> dict[str, Any]:
    if from_json:
        ids = draw_instance_ids(read_polygons(frame.annotation("polygons.json")))
    else:
        ids = read_label_map(frame.annotation("instanceIds.png"))
    return {
        "file_name": str(frame.image),
        "image_id": frame.image.name,
        "height": ids.shape[0],
        "width": ids.shape[1],
        "annotations": list(_annotations(ids, to_polygons)),
    }


def _annotations(ids: np.ndarray, to_polygons: bool) -> Iterator[dict[str, Any]]:
    classes = _classes()
    for value, ys, xs in _pixels_of_objects(ids, tuple(classes)):
        left, top = int(xs.min()), int(ys.min())
        right, bottom = int(xs.max()) + 1, int(ys.max()) + 1
        mask = np.zeros((bottom - top, right - left), dtype=bool)
        mask[ys - top, xs - left] = True
        yield {
            "iscrowd": int(value < 1000),
            "category_id": classes[value // 1000 if value >= 1000 else value],
            "bbox": [left, top, right, bottom],
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": _polygons(mask, left, top)
            if to_polygons
            else _run_lengths(mask, left, top, ids.shape),
        }


def _classes() -> dict[int, int]:
    """The class of each label whose objects are told apart and evaluated."""
    chosen = [x for x in cityscapes_labels().values() if x.has_instances and x.is_evaluated]
    return {label.id: index for index, label in enumerate(chosen)}


def _pixels_of_objects(
    ids: np.ndarray, labels: tuple[int, ...]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The id and the rows and columns of each object, in the order of the ids."""
    flat = ids.reshape(-1)
    places = np.flatnonzero(flat >= min(labels))
    values = flat[places]
    chosen = np.isin(np.where(values >= 1000, values // 1000, values), labels)
    places, values = places[chosen], values[chosen]
    order = np.argsort(values, kind="stable")
    present, starts = np.unique(values[order], return_index=True)
    for value, group in zip(present.tolist(), np.split(places[order], starts[1:]), strict=False):
        yield value, *np.divmod(group, ids.shape[1])


def _polygons(mask: np.ndarray, left: int, top: int) -> list[list[float]]:
    return [
        [float(value + (top if place % 2 else left)) for place, value in enumerate(polygon)]
        for polygon in mask_polygons(mask)
    ]


def _run_lengths(
    mask: np.ndarray, left: int, top: int, image_size: tuple[int, ...]
) -> dict[str, Any]:
    whole = np.zeros(image_size, dtype=bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return dict(rle_encode(whole))
