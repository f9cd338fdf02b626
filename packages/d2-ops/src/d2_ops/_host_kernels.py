"""The compiled kernels for arrays, or why this installation has none."""

from __future__ import annotations

from importlib.util import find_spec

from ._preconditions import no_library

if find_spec(f"{__package__}._host") is None:
    raise no_library("_host")

from . import _host as kernels

__all__ = ["kernels"]
