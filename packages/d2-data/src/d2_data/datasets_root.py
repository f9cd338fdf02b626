"""The folder that holds the built-in datasets."""

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["DatasetsRoot", "datasets_root"]

_VARIABLES = ("D2_DATASETS", "DETECTRON2_DATASETS")


class DatasetsRoot(NamedTuple):
    """A folder, and what named it.

    Attributes:
        folder: relative to the current folder where nothing was set.
        variable: the environment variable that was read; None where neither is set.
    """

    folder: Path
    variable: str | None

    def __str__(self) -> str:
        if self.variable is not None:
            return f"{str(self.folder)!r}, which ${self.variable} names"
        unset = " nor ".join(f"${variable}" for variable in _VARIABLES)
        return f"{str(self.folder)!r} in the current folder {os.getcwd()!r}: neither {unset} is set"


def datasets_root() -> DatasetsRoot:
    """Find the folder: ``$D2_DATASETS``, else ``$DETECTRON2_DATASETS``, else ``datasets``.

    The environment is read at each call.
    """
    for variable in _VARIABLES:
        value = os.environ.get(variable)
        if value:
            return DatasetsRoot(Path(value).expanduser(), variable)
    return DatasetsRoot(Path("datasets"), None)
