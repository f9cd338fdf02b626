"""Where C++ programs find the kernels."""

from __future__ import annotations

import sys
from pathlib import Path


def cmake_dir() -> Path:
    """The folder for CMake's ``d2_ops_DIR``: ``find_package(d2_ops CONFIG)`` looks there.

    It gives the target ``d2_ops::kernels``: the kernels as headers, without torch and Python.

    Raises:
        FileNotFoundError: if this package was not built.
    """
    # An editable install has several folders.
    folders = [Path(folder) / "cmake" for folder in sys.modules[__package__].__path__]
    for folder in folders:
        if (folder / "d2_ops-config.cmake").exists():
            return folder
    raise FileNotFoundError(
        f"{__package__} has no CMake package in {folders}: build and install it first"
    )
