"""The compiled kernels for arrays, or why this installation has none."""

from __future__ import annotations

from importlib.util import find_spec

from ._preconditions import no_library, unloadable

if find_spec(f"{__package__}._host") is None:
    raise no_library("_host")

try:
    from . import _host as kernels
except ImportError as error:
    raise unloadable("_host", error) from error

__all__ = ["kernels"]
