"""A folder of photographs with one COCO annotation file, as a dataset with a name."""

import os
from pathlib import Path

from d2_data import DatasetCatalog
from d2_data.datasets import register_coco_instances


def coco_folder(
    json_file: str | os.PathLike[str] | None,
    image_root: str | os.PathLike[str] | None = None,
    *,
    option: str = "",
) -> str:
    """Put photographs that were not registered by hand into the catalogs.

    Made for configs: it stands where the name of a dataset stands, and may be called again.

    Args:
        json_file: the annotation file.
        image_root: the folder of the images; by default that of the annotation file.
        option: where in a config the two are given, named in errors.

    Returns:
        The dataset's name in the catalogs.

    Raises:
        ValueError: if no annotation file is given.
        FileNotFoundError: if the file or the folder does not exist.
    """
    if json_file is None:
        where = f"{option}.json=… and {option}.images=…" if option else "json_file"
        raise ValueError(f"no annotation file is given: set {where}")
    annotations = Path(json_file)
    if not annotations.is_file():
        raise FileNotFoundError(f"the annotation file {annotations} does not exist{_set(option)}")
    root = annotations.parent if image_root is None else Path(image_root)
    if not root.is_dir():
        raise FileNotFoundError(f"the image folder {root} does not exist{_set(option)}")
    name = f"{annotations.resolve()} with images in {root.resolve()}"
    if name not in DatasetCatalog:
        register_coco_instances(name, {}, annotations, root)
    return name


def _set(option: str) -> str:
    return f"; check {option}.json and {option}.images" if option else ""
