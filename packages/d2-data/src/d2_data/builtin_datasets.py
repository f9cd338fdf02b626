"""Datasets that the catalogs know without being told.

Nothing here is read before a catalog is first asked for a name, and nothing is
registered before its own name is asked for, so ``import d2_data`` costs nothing for
datasets that a program does not use.

The contract of a registrar ``"module:function"``:

* it takes the name and registers it, by ``DatasetCatalog.register(name, load)`` and
  ``MetadataCatalog.get(name).set(...)``;
* it does no work beyond that: reading, downloading or generating files belongs in
  ``load``, which runs when the samples are asked for;
* it resolves folders through :func:`d2_data.datasets_root.datasets_root`.
"""

import functools
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from d2_data.coco_folder_name import PREFIX, is_coco_folder_name

__all__ = ["BUILTIN_FOLDER", "builtin_names", "is_known", "read_index", "run_registrar"]

BUILTIN_FOLDER = Path(__file__).parent / "datasets" / "builtin"
"""Where the data files stand that describe the built-in datasets."""

_SHAPES = "d2_data.datasets.shapes:register_builtin_shapes"
_DESCRIBED = "d2_data.datasets.builtin.registration:register_builtin"
_COCO_FOLDER = "d2_data.datasets.coco_folder:register_coco_folder"


@functools.cache
def read_index() -> Any:
    """The content of ``datasets.json``: kinds and families of datasets. Not to be changed."""
    return json.loads((BUILTIN_FOLDER / "datasets.json").read_bytes())


@functools.cache
def builtin_names() -> Mapping[str, str]:
    """The registrar of each built-in dataset, by its name."""
    described = (name for family in read_index()["families"] for name in family["datasets"])
    shapes = ("shapes_train", "shapes_val")
    return MappingProxyType(dict.fromkeys(described, _DESCRIBED) | dict.fromkeys(shapes, _SHAPES))


def is_known(name: str) -> bool:
    """Whether ``name`` is built in or says itself what it stands for."""
    return name in builtin_names() or is_coco_folder_name(name)


def run_registrar(name: str) -> None:
    """Register ``name`` if it is known; nothing happens if it is not.

    Raises:
        ValueError: if the name begins as those that describe themselves but is none.
    """
    registrar = _COCO_FOLDER if name.startswith(PREFIX) else builtin_names().get(name)
    if registrar is not None:
        module, _, function = registrar.partition(":")
        getattr(importlib.import_module(module), function)(name)
