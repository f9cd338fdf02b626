"""Names that are imported when they are first asked for (PEP 562).

``import d2_ops`` and ``import d2_ops.host`` must not import torch, so the package cannot import
the modules of its torch operators up front.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazy_names(
    package: str, names_of_modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: the package's ``__name__``.
        names_of_modules: submodule → names that it defines for the package. A submodule with no
            names is itself the public name.
    """
    homes = {name: module for module, names in names_of_modules.items() for name in names}

    def __getattr__(name: str) -> object:
        if name in homes:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
        elif name in names_of_modules and not names_of_modules[name]:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # the next access is an ordinary one
        return value

    def __dir__() -> list[str]:
        public = [name for module, names in names_of_modules.items() for name in names or [module]]
        return sorted({*vars(sys.modules[package]), *public})

    return __getattr__, __dir__
