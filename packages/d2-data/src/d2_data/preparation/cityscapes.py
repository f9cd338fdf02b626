"""What Cityscapes' own scripts make of the downloaded annotations."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from d2_data.datasets.cityscapes import (
    CityscapesFrame,
    cityscapes_frames,
    cityscapes_labels,
    draw_train_ids,
    read_polygons,
)
from d2_data.formats import CocoFile, encode_panoptic_png, read_label_map
from d2_data.preparation.file_by_file import (
    Prepared,
    Progress,
    make_files,
    png_of,
    results_of,
)

__all__ = ["prepare_cityscapes"]

_SPLITS = ("train", "val", "test")


def prepare_cityscapes(
    root: str | os.PathLike[str],
    splits: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Write the label images and the panoptic annotations that are not downloaded.

    Of each split: ``gtFine/{split}/{city}/…_labelTrainIds.png``, drawn from ``…_polygons.json``;
    and ``gtFine/cityscapes_panoptic_{split}.json`` with a folder of PNGs, from
    ``…_instanceIds.png``. They are what ``createTrainIdLabelImgs.py`` and
    ``createPanopticImgs.py`` of Cityscapes' scripts write.

    Args:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``.
        splits: None takes those of ``train``, ``val`` and ``test`` that are there.
        overwrite: whether to make images that are there already.
        num_workers: threads; None takes one per core.
        progress: shows how far it is.

    Raises:
        FileNotFoundError: if a folder or an annotation is absent.
        ValueError: if an annotation is malformed; the message names its file.
    """
    images, annotations = Path(root) / "leftImg8bit", Path(root) / "gtFine"
    chosen = splits or [split for split in _SPLITS if (images / split).is_dir()]
    if not chosen:
        raise FileNotFoundError(
            f"none of the folders {list(_SPLITS)} is in {str(images)!r}; extract Cityscapes' "
            "leftImg8bit and gtFine there"
        )
    prepared = Prepared(0, 0)
    for split in chosen:
        frames = cityscapes_frames(images / split, annotations / split)
        prepared += make_files(
            frames,
            lambda frame: frame.annotation("labelTrainIds.png"),
            lambda frame: png_of(draw_train_ids(read_polygons(frame.annotation("polygons.json")))),
            description=f"Cityscapes {split}, semantic labels",
            overwrite=overwrite,
            num_workers=num_workers,
            progress=progress,
        )
        target = annotations / f"cityscapes_panoptic_{split}"
        prepared += make_files(
            frames,
            lambda frame, target=target: target / _png_name(frame),  # type: ignore[misc]  # binds the loop's value
            lambda frame: encode_panoptic_png(_evaluated_ids(frame)),
            description=f"Cityscapes {split}, panoptic segments",
            overwrite=overwrite,
            num_workers=num_workers,
            progress=progress,
        )
        described = results_of(
            _described,
            frames,
            description=f"Cityscapes {split}, panoptic annotations",
            num_workers=num_workers,
            progress=progress,
        )
        _panoptic_file(frames, described).write(target.with_suffix(".json"))
    return prepared


def _png_name(frame: CityscapesFrame) -> str:
    return f"{frame.name}_{frame.kind}_panoptic.png"


def _evaluated_ids(frame: CityscapesFrame) -> np.ndarray:
    """The ids of segments; 0 where the label is not evaluated."""
    ids = read_label_map(frame.annotation("instanceIds.png")).astype(np.int32)
    labels = np.where(ids >= 1000, ids // 1000, ids)
    evaluated = [label.id for label in cityscapes_labels().values() if label.is_evaluated]
    return np.where(np.isin(labels, evaluated), ids, 0)


class _Described(NamedTuple):
    image_size: tuple[int, int]
    segments: list[dict[str, Any]]


def _described(frame: CityscapesFrame) -> _Described:
    """The size and the segments of a frame."""
    ids = _evaluated_ids(frame)
    things = {label.id for label in cityscapes_labels().values() if label.has_instances}
    present = np.flatnonzero(np.bincount(ids.reshape(-1)))
    return _Described(
        image_size=(ids.shape[0], ids.shape[1]),
        segments=[_segment(ids == number, number, things) for number in present.tolist() if number],
    )


def _segment(mask: np.ndarray, number: int, things: set[int]) -> dict[str, Any]:
    label = number // 1000 if number >= 1000 else number
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    left, top = int(xs[0]), int(ys[0])
    return {
        "id": number,
        "category_id": label,
        "area": int(np.count_nonzero(mask)),
        "bbox": [left, top, int(xs[-1]) + 1 - left, int(ys[-1]) + 1 - top],
        # Objects that are not told apart are a crowd.
        "iscrowd": int(label in things and number < 1000),
    }


def _panoptic_file(frames: Sequence[CityscapesFrame], described: Sequence[_Described]) -> CocoFile:
    file = CocoFile(
        [
            {
                "id": label.id,
                "name": label.name,
                "color": list(label.color or ()),
                "supercategory": label.supercategory,
                "isthing": int(label.has_instances),
            }
            for label in cityscapes_labels().values()
            if label.is_evaluated
        ]
    )
    for frame, (image_size, segments) in zip(frames, described, strict=True):
        file.add_image(f"{frame.name}_{frame.kind}_leftImg8bit.png", image_size, frame.name)
        file.add_segments(frame.name, _png_name(frame), segments)
    return file
