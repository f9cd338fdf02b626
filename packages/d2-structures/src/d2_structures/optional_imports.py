"""Packages that only some functions need, imported where they are used."""

from importlib import import_module
from typing import Any

__all__ = ["import_optional"]


def import_optional(module: str, extra: str, *, package: str = "d2-structures") -> Any:
    """Import a module of an optional dependency.

    Args:
        module: dotted name.
        extra: the extra that installs it.
        package: whose extra that is.

    Raises:
        ImportError: if it is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split(".")[0] != module.split(".")[0]:
            raise  # installed, but itself lacks something
        raise ImportError(
            f"this needs {module}, which is not installed: pip install '{package}[{extra}]'"
        ) from error
