"""Unpickling of model-zoo files, limited to arrays and plain containers.

A pickle is a program: loading one normally lets its author run anything. Zoo files only
need NumPy arrays, so only what rebuilds arrays is admitted; everything else is refused.
"""

import collections
import os
import pickle
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np


def load_restricted_pickle(path: str | os.PathLike[str]) -> Any:
    """Load a pickle that holds arrays, numbers, strings and plain containers.

    Pickles of Python 2 are read as well (their byte strings become latin-1 text).

    Raises:
        pickle.UnpicklingError: if the file refers to anything else, naming it, or is damaged.
    """
    with open(path, "rb") as file:
        try:
            return _RestrictedUnpickler(file, os.fspath(path)).load()
        except RefusedPickleError:
            raise
        except Exception as error:  # a damaged pickle can fail in any way
            raise pickle.UnpicklingError(
                f"{os.fspath(path)} is not a complete pickle file ({error}); it may have been cut "
                "short: fetch it again"
            ) from error


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle asks for something that is not admitted."""


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file, encoding="latin1")
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise RefusedPickleError(
                f"{self._name} refers to {module}.{name}; only NumPy arrays and plain containers "
                "are loaded from pickle files, because anything else could run code. If you trust "
                "the file, load it yourself and save its arrays as a .pth state dict"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedPickleError(f"{self._name} refers to an object outside the file: {pid!r}")


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, which protocol-2 pickles call to rebuild bytes."""
    if encoding != "latin1":
        raise RefusedPickleError(f"a pickle asks for the codec {encoding!r}, not latin1")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """Stand in for ``bytes``, which protocol-2 pickles call for empty byte strings only."""
    return b""


def _reconstruct_array(subtype: type, shape: Any, dtype: Any) -> np.ndarray:
    if subtype is not np.ndarray:
        raise RefusedPickleError(f"a pickle asks for an array of type {subtype!r}")
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _rebuild_scalar(dtype: np.dtype, data: bytes | str) -> Any:
    if dtype.hasobject:
        raise RefusedPickleError("a pickle asks for a NumPy scalar of Python objects")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


def _rebuild_from_buffer(buffer: Any, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    if dtype.hasobject:
        raise RefusedPickleError("a pickle asks for an array of Python objects")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload]  # order is "C" or "F"


def _admitted() -> Mapping[tuple[str, str], Callable[..., Any]]:
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _encode_latin1,
    }
    # NumPy 2 renamed `core`; files of either age are read under either version.
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = _reconstruct_array
        names[f"{package}.multiarray", "scalar"] = _rebuild_scalar
        names[f"{package}.numeric", "_frombuffer"] = _rebuild_from_buffer
    for builtins in ("builtins", "__builtin__"):
        names[builtins, "bytes"] = _empty_bytes
        names[builtins, "set"] = set
        names[builtins, "frozenset"] = frozenset
        names[builtins, "bytearray"] = bytearray
    return MappingProxyType(names)


_ADMITTED = _admitted()
