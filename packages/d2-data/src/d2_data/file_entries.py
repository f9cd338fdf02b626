"""Entries of annotation files that have to be there, and of one kind.

Messages go on after the name of what the entry belongs to, see
:func:`d2_data.located_errors.located`.
"""

from collections.abc import Mapping
from typing import Any

from d2_data.annotations.plain_values import shortened, whole_number

__all__ = ["identity", "list_of_objects", "required", "text", "whole"]


def required(entry: Mapping[str, Any], key: str) -> Any:
    """A value that is not null.

    Raises:
        ValueError: if it is absent.
    """
    if entry.get(key) is None:
        raise ValueError(f"lacks {key!r}; it has {sorted(map(str, entry))[:12]}")
    return entry[key]


def whole(entry: Mapping[str, Any], key: str, wanted: str = "a whole number") -> int:
    """A whole number.

    Raises:
        ValueError: if it is absent or something else.
    """
    return whole_number(key, required(entry, key), wanted)


def text(entry: Mapping[str, Any], key: str) -> str:
    """A text that is not empty.

    Raises:
        ValueError: if it is absent or something else.
    """
    value = required(entry, key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"has {key!r} {shortened(value)}; wanted a text")
    return value


def identity(entry: Mapping[str, Any], key: str = "id") -> int | str:
    """A number or text that names something.

    Raises:
        ValueError: if it is absent or something else.
    """
    value = required(entry, key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"has {key!r} {shortened(value)}; wanted a number or text")
    return value


def list_of_objects(entry: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of JSON objects; empty where it is absent.

    Raises:
        ValueError: if it is something else.
    """
    value = entry.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"has {key!r} {shortened(value)}; wanted a list of objects")
    for place, item in enumerate(value):
        if not isinstance(item, dict):
            raise ValueError(
                f"has {key!r} with {shortened(item)} at place {place}; wanted a list of objects"
            )
    return value
