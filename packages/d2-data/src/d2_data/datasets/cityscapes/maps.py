"""Cityscapes' semantic labels and panoptic segments as standard dataset dicts."""

import os
from pathlib import Path
from typing import Any

from d2_data.catalog import Metadata
from d2_data.datasets.cityscapes.files import CityscapesFrame, cityscapes_frames
from d2_data.datasets.panoptic_segments import contiguous_segments, read_panoptic_json
from d2_data.image_reading import read_image_size

__all__ = ["load_cityscapes_panoptic", "load_cityscapes_semantic"]

_TRAIN_IDS = "labelTrainIds.png"


def load_cityscapes_semantic(
    image_dir: str | os.PathLike[str], gt_dir: str | os.PathLike[str]
) -> list[dict[str, Any]]:
    """Find the semantic labels of a split.

    Args:
        image_dir: e.g. ``leftImg8bit/train``; see :func:`cityscapes_frames`.
        gt_dir: e.g. ``gtFine/train``, with ``…_labelTrainIds.png``, which
            :func:`d2_data.preparation.prepare_cityscapes` makes.

    Returns:
        Dicts with ``file_name``, ``sem_seg_file_name``, ``height`` and ``width``.

    Raises:
        FileNotFoundError: if a folder or a file is absent.
    """
    frames = cityscapes_frames(image_dir, gt_dir)
    _require_train_ids(frames, gt_dir)
    return [
        {
            "file_name": str(frame.image),
            "sem_seg_file_name": str(frame.annotation(_TRAIN_IDS)),
            **_image_size(frame.image),
        }
        for frame in frames
    ]


def load_cityscapes_panoptic(
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    panoptic_json: str | os.PathLike[str],
    panoptic_root: str | os.PathLike[str],
    metadata: Metadata,
) -> list[dict[str, Any]]:
    """Read the panoptic segments of a split, and find its semantic labels.

    Args:
        image_dir: e.g. ``leftImg8bit/train``; see :func:`cityscapes_frames`.
        gt_dir: e.g. ``gtFine/train``, with ``…_labelTrainIds.png``.
        panoptic_json: e.g. ``gtFine/cityscapes_panoptic_train.json``, which
            :func:`d2_data.preparation.prepare_cityscapes` makes, as it makes the label images.
        panoptic_root: the folder of its PNGs.
        metadata: says which class each category is.

    Returns:
        Dicts with ``file_name``, ``image_id``, ``height``, ``width``, ``sem_seg_file_name``,
        ``pan_seg_file_name`` and ``segments_info``, in the file's order.

    Raises:
        FileNotFoundError: if a folder or a file is absent.
        KeyError: if a category has no class.
        ValueError: if the file is malformed.
    """
    frames = {frame.name: frame for frame in cityscapes_frames(image_dir, gt_dir)}
    content = read_panoptic_json(panoptic_json)
    records = []
    found = []
    for annotation in content.annotations:
        frame = frames.get(str(annotation.image_id))
        if frame is None:
            raise FileNotFoundError(
                f"{content.where}: there is no photograph of image {annotation.image_id!r} below "
                f"{os.fspath(image_dir)!r}"
            )
        found.append(frame)
        records.append(
            {
                "file_name": str(frame.image),
                "image_id": annotation.image_id,
                **_image_size(frame.image),
                "sem_seg_file_name": str(frame.annotation(_TRAIN_IDS)),
                "pan_seg_file_name": os.path.join(panoptic_root, annotation.file_name),
                "segments_info": contiguous_segments(annotation, metadata, content.where),
            }
        )
    _require_train_ids(found, gt_dir)
    return records


def _require_train_ids(frames: list[CityscapesFrame], gt_dir: str | os.PathLike[str]) -> None:
    missing = [file for frame in frames if not (file := frame.annotation(_TRAIN_IDS)).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(frames)} label images below {os.fspath(gt_dir)!r} are "
            f"missing, e.g. {missing[0].name}; 'd2 data prepare cityscapes' makes them from the "
            "polygons"
        )


def _image_size(image: Path) -> dict[str, int]:
    height, width = read_image_size(image)
    return {"height": height, "width": width}
