"""Names that are imported when they are first asked for (PEP 562).

``import d2_ops`` and ``import d2_ops.host`` must not import torch, so the package cannot import
the modules of its torch operators up front.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from ._preconditions import is_of_torch, no_library, no_torch


def lazy_names(
    package: str, homes: Mapping[str, str | None]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: the package's ``__name__``.
        homes: public name → the submodule that defines it; None for a submodule of that name.
    """

    def __getattr__(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value: object = import_module(f"{package}.{homes[name] or name}")
        except (ImportError, OSError) as error:
            if is_of_torch(error):
                raise no_torch(error) from None
            if isinstance(error, ImportError) and error.name == f"{package}._build":
                raise no_library("_cpu_ops") from None
            raise
        if homes[name] is not None:
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)  # the next access is an ordinary one
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
