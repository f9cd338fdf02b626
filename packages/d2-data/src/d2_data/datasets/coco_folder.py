"""A dataset of one's own in COCO's format, under a name that any process understands."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.coco_folder_name import CocoFolder, coco_folder_name, parse_coco_folder_name
from d2_data.datasets.coco import load_coco_json
from d2_data.image_root import OutsideRoot

__all__ = ["coco_folder", "register_coco_folder"]


def coco_folder(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    *,
    outside_root: OutsideRoot = "refuse",
) -> str:
    """Name photographs and their annotations for the catalogs and for configs.

    Nothing has to be registered: the name holds both paths, so that another process which
    finds it in a saved config reads the same files.

    Args:
        json_file: the annotation file, in COCO's format.
        image_root: the folder of the images; by default that of the annotation file.
        outside_root: what may lie outside of it; see :func:`~d2_data.datasets.load_coco_json`.

    Returns:
        The dataset's name, ``coco:/…/train.json?images=/…/photos``: absolute paths, quoted as
        in a URL. ``&outside=…`` follows where ``outside_root`` is not ``"refuse"``.

    Raises:
        TypeError: if an argument is no path.
        FileNotFoundError: if the file or the folder does not exist.

    Example:
        >>> from d2_data import DatasetCatalog
        >>> from d2_data.datasets import coco_folder
        >>> samples = DatasetCatalog.get(coco_folder("train.json", "photos"))  # doctest: +SKIP
    """
    if not isinstance(json_file, (str, os.PathLike)):
        raise TypeError(f"coco_folder: json_file must be a string or path, got {json_file!r}")
    if image_root is None:
        image_root = Path(json_file).parent
    elif not isinstance(image_root, (str, os.PathLike)):
        raise TypeError(f"coco_folder: image_root must be a string or path, got {image_root!r}")
    _check_paths(json_file, image_root)
    return coco_folder_name(json_file, image_root, outside_root)


def register_coco_folder(name: str) -> None:
    """Register a name that :func:`coco_folder` wrote; the catalogs do so when asked for one.

    Raises:
        ValueError: if it is not such a name.
    """
    folder = parse_coco_folder_name(name)
    DatasetCatalog.register(name, partial(_load, folder, name))
    MetadataCatalog.get(name).set(
        json_file=folder.json_file,
        image_root=folder.image_root,
        evaluator_type="coco",
        **({} if folder.outside_root == "refuse" else {"outside_root": folder.outside_root}),
    )


def _load(folder: CocoFolder, name: str) -> list[dict[str, Any]]:
    _check_paths(folder.json_file, folder.image_root)
    return load_coco_json(
        folder.json_file, folder.image_root, name, outside_root=folder.outside_root
    )


def _check_paths(json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]) -> None:
    if not os.path.isfile(json_file):
        raise FileNotFoundError(f"the annotation file {os.fspath(json_file)!r} does not exist")
    if not os.path.isdir(image_root):
        raise FileNotFoundError(f"the image folder {os.fspath(image_root)!r} does not exist")
