"""Packages that only batch prediction needs."""

from importlib import import_module
from typing import Any


def import_extra(name: str) -> Any:
    """Import Ray, pyarrow or one of their modules.

    Raises:
        ImportError: if it is not installed; names the extra.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"batch prediction needs {package}, which is not installed: "
            "pip install 'd2-engine[ray]'"
        ) from error
