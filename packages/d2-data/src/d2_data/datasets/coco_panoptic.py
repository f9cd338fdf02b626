"""COCO's panoptic annotation format: a JSON file beside PNGs of segment ids.

Source: https://cocodataset.org/#format-data
"""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.datasets.coco import load_coco_json
from d2_data.datasets.panoptic_segments import (
    PanopticAnnotation,
    contiguous_segments,
    declare_panoptic_categories,
    read_panoptic_json,
)
from d2_data.datasets.semantic_folder import load_sem_seg
from d2_data.file_entries import text, whole
from d2_data.image_root import ImageRoot, OutsideRoot
from d2_data.located_errors import located

__all__ = [
    "load_coco_panoptic_json",
    "load_coco_panoptic_separated",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
]

_logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

_PANOPTIC = {"evaluator_type": "coco_panoptic_seg", "ignore_label": 255}
_SEMANTIC = {"evaluator_type": "sem_seg", "ignore_label": 255}


def register_coco_panoptic(
    name: str,
    metadata: dict[str, Any],
    image_root: StrPath,
    panoptic_root: StrPath,
    panoptic_json: StrPath,
    instances_json: StrPath | None = None,
    *,
    outside_root: OutsideRoot = "refuse",
) -> None:
    """Register a dataset in COCO's panoptic format, in the standard layout.

    The samples have ``pan_seg_file_name`` and ``segments_info``; objects and materials share one
    numbering. Files are read when the samples are first asked for.

    Args:
        name: the name that identifies the dataset, e.g. ``"coco_2017_train_panoptic"``.
        metadata: further metadata, such as that of a built-in dataset with the same classes. What
            it says of categories is used; an empty dict takes them from the file.
        image_root: the folder of the photographs.
        panoptic_root: the folder of the PNGs.
        panoptic_json: the panoptic annotation file.
        instances_json: the file with the same objects as polygons, for evaluation.
        outside_root: see :func:`load_coco_panoptic_json`.

    Raises:
        ValueError: if the name is taken.
    """
    DatasetCatalog.register(
        name, partial(_load_standard, name, panoptic_json, image_root, panoptic_root, outside_root)
    )
    MetadataCatalog.get(name).set(
        image_root=os.fspath(image_root),
        panoptic_root=os.fspath(panoptic_root),
        panoptic_json=os.fspath(panoptic_json),
        json_file=None if instances_json is None else os.fspath(instances_json),
        **(_PANOPTIC | {"label_divisor": 1000} | metadata),
    )


def register_coco_panoptic_separated(
    name: str,
    metadata: dict[str, Any],
    image_root: StrPath,
    panoptic_root: StrPath,
    panoptic_json: StrPath,
    sem_seg_root: StrPath,
    instances_json: StrPath,
    *,
    outside_root: OutsideRoot = "refuse",
) -> None:
    """Register a dataset in the layout of Panoptic FPN, and its semantic part alone.

    Objects are those of ``instances_json``, materials those of the label images in
    ``sem_seg_root``, where class 0 stands for every object; each have their own numbering.
    :func:`d2_data.preparation.prepare_panoptic_fpn_semantics` makes these label images. The
    datasets are named ``name + "_separated"`` and ``name + "_stuffonly"``, as the built-in ones.

    Args:
        name: the first part of the names, e.g. ``"coco_2017_train_panoptic"``.
        metadata: further metadata; may be empty.
        image_root: the folder of the photographs.
        panoptic_root: the folder of the panoptic PNGs, for evaluation.
        panoptic_json: the panoptic annotation file, for evaluation.
        sem_seg_root: the folder of the label images.
        instances_json: the file with boxes and polygons of the objects.
        outside_root: see :func:`~d2_data.datasets.load_coco_json`.

    Raises:
        ValueError: if a name is taken.
    """
    separated, semantic = f"{name}_separated", f"{name}_stuffonly"
    roots = {"image_root": os.fspath(image_root), "sem_seg_root": os.fspath(sem_seg_root)}
    DatasetCatalog.register(
        separated,
        partial(
            load_coco_panoptic_separated,
            *(instances_json, image_root, sem_seg_root, separated),
            outside_root=outside_root,
        ),
    )
    MetadataCatalog.get(separated).set(
        panoptic_root=os.fspath(panoptic_root),
        panoptic_json=os.fspath(panoptic_json),
        json_file=os.fspath(instances_json),
        **roots,
        **(_PANOPTIC | metadata),
    )
    DatasetCatalog.register(semantic, partial(load_sem_seg, sem_seg_root, image_root))
    MetadataCatalog.get(semantic).set(**roots, **(_SEMANTIC | metadata))


def load_coco_panoptic_json(
    panoptic_json: StrPath,
    image_root: StrPath,
    panoptic_root: StrPath,
    metadata: Metadata,
    *,
    outside_root: OutsideRoot = "refuse",
) -> list[dict[str, Any]]:
    """Read a panoptic annotation file into standard dataset dicts. No image is opened.

    Args:
        panoptic_json: the file.
        image_root: the folder of the photographs. One that the file does not list is named as its
            PNG, with the extension ``.jpg``.
        panoptic_root: the folder of the PNGs.
        metadata: says which class each category is; where it says nothing the file's own
            categories are put into it.
        outside_root: what may lie outside of ``image_root``; see
            :func:`~d2_data.datasets.load_coco_json`.

    Returns:
        Dicts with ``file_name``, ``image_id``, ``pan_seg_file_name`` and ``segments_info``, and
        ``height`` and ``width`` where the file has them, in the file's order.

    Raises:
        FileNotFoundError: if the file is missing.
        KeyError: if a category has no class.
        ValueError: if the file is malformed; the message names the annotation.
    """
    content = read_panoptic_json(panoptic_json)
    declare_panoptic_categories(content.categories, metadata)
    root = ImageRoot(image_root, outside_root)
    records = [
        {
            **image,
            "image_id": annotation.image_id,
            "pan_seg_file_name": os.path.join(panoptic_root, annotation.file_name),
            "segments_info": contiguous_segments(annotation, metadata, content.where),
        }
        for annotation in content.annotations
        for image in [_image(annotation, root, content.where)]
    ]
    if not records:
        raise ValueError(f"{content.where} has no annotations; panoptic segmentation needs some")
    _logger.info("Read %d images from %s", len(records), Path(panoptic_json).name)
    return records


def _image(annotation: PanopticAnnotation, root: ImageRoot, where: str) -> dict[str, Any]:
    """The path and, where the file has it, the size of a photograph."""
    entry = annotation.image
    with located(f"{where}: image {annotation.image_id!r}"):
        size = {key: whole(entry, key) for key in ("height", "width") if entry.get(key)}
        named = bool(entry.get("file_name"))
        name = text(entry, "file_name") if named else f"{Path(annotation.file_name).stem}.jpg"
        return {"file_name": root.path(name), **size}


def load_coco_panoptic_separated(
    instances_json: StrPath,
    image_root: StrPath,
    sem_seg_root: StrPath,
    dataset_name: str | None = None,
    *,
    outside_root: OutsideRoot = "refuse",
) -> list[dict[str, Any]]:
    """Read objects and semantic labels of the same photographs.

    Args:
        instances_json: a COCO file of the objects.
        image_root: the folder of the photographs.
        sem_seg_root: the folder of the label images, PNG, named as the photographs.
        dataset_name: see :func:`~d2_data.datasets.load_coco_json`, as ``outside_root``.

    Returns:
        The dicts of :func:`~d2_data.datasets.load_coco_json` with ``sem_seg_file_name``.

    Raises:
        FileNotFoundError: if a file or folder is missing.
        ValueError: if a photograph has no label image.
    """
    records = load_coco_json(instances_json, image_root, dataset_name, outside_root=outside_root)
    labels = {
        os.path.normpath(pair["file_name"]): pair["sem_seg_file_name"]
        for pair in load_sem_seg(sem_seg_root, image_root)
    }
    missing = [r for r in records if os.path.normpath(r["file_name"]) not in labels]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(records)} images of {os.fspath(instances_json)!r} have no "
            f"label image in {os.fspath(sem_seg_root)!r}, e.g. {missing[0]['file_name']!r} (id "
            f"{missing[0]['image_id']!r}); 'd2 data prepare panoptic-fpn-semantics' makes them"
        )
    for record in records:
        record["sem_seg_file_name"] = labels[os.path.normpath(record["file_name"])]
    return records


def _load_standard(
    name: str,
    panoptic_json: StrPath,
    image_root: StrPath,
    panoptic_root: StrPath,
    outside_root: OutsideRoot,
) -> list[dict[str, Any]]:
    metadata = MetadataCatalog.get(name)
    return load_coco_panoptic_json(
        panoptic_json, image_root, panoptic_root, metadata, outside_root=outside_root
    )
