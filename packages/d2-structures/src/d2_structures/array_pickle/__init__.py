"""Pickle files of arrays and plain containers, read without running what is in them."""

from .errors import ArrayPickleError
from .machine import load_array_pickle

__all__ = ["ArrayPickleError", "load_array_pickle"]
