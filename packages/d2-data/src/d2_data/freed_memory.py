"""Giving memory back to the system once a dataset was read and packed."""

import ctypes
from functools import cache
from typing import Any


def return_freed_memory() -> None:
    """Hand freed memory back to the system, where the C library keeps it for later.

    The records of a large dataset leave hundreds of MiB behind, which would stay with this process
    and, counted once for all of them, with the workers that are forked from it.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # of glibc only
        return None
