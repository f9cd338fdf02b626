"""Errors that say which dataset, picture and annotation they are about."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def located(place: str) -> Iterator[None]:
    """Put a place in front of the message of any error that the block raises.

    Args:
        place: e.g. ``"image 'a.jpg'"``; an error that begins with it already stays as it is.
    """
    try:
        yield
    except Exception as error:
        locate(error, place)
        raise


def locate(error: Exception, place: str) -> None:
    """Put a place in front of an error's message, or beside it where it has a form of its own.

    The type stays, so that what is caught by type still is.
    """
    text = error.args[0] if len(error.args) == 1 else None
    if isinstance(text, str) and str(error) in (text, repr(text)):
        if not text.startswith(place):
            separator = " " if text.startswith(("has ", "holds ", "is ", "lacks ")) else ": "
            error.args = (f"{place}{separator}{_with_type(error, text)}",)
    elif place not in getattr(error, "__notes__", ()):
        error.add_note(place)


def picture(record: Any) -> str:
    """What to call the picture of a dataset dict in a message."""
    if not isinstance(record, Mapping):
        return f"element {record!r:.100}"
    name = record.get("file_name")
    identity = record.get("image_id")
    if name is None:
        return "image without 'file_name'" if identity is None else f"image id {identity!r}"
    named = f"image {os.fspath(name)!r}" if isinstance(name, str | os.PathLike) else f"image {name}"
    return named if identity is None else f"{named} (image_id {identity!r})"


def _with_type(error: Exception, text: str) -> str:
    # The bare name of a key, or a bare message of a library, says little without it.
    if isinstance(error, KeyError) and text.isidentifier():
        return f"the key {text!r} is missing"
    return text
