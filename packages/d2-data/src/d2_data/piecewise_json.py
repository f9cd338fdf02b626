"""Parsing large JSON files without holding their text."""

import codecs
import json
import re
from pathlib import Path
from typing import Any, BinaryIO

_PIECE = 2**18
"""Bytes that are read at a time."""

_SPACE = re.compile(r"[ \t\n\r]*").match
_BEHIND_ELEMENT = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*").match


def load_json(path: Path) -> Any:
    """What ``json.loads`` makes of a file, with the memory of the result and little more.

    Of a document that is a large object or array, the elements of the outer arrays are parsed one
    by one from pieces of the text. Their keys are the same objects wherever they are equal, as
    they are where the whole text is parsed at once.

    Raises:
        OSError: if the file cannot be read.
        RecursionError: if it is nested too deeply.
        ValueError: if it is not valid JSON.
    """
    if path.stat().st_size > _PIECE:
        try:
            with path.open("rb") as file:
                return _Document(file).read()
        except ValueError:
            pass  # of the whole text the error tells the place; it may also be in other Unicode
    return json.loads(path.read_bytes())


class _Document:
    """The text that is in memory, and a place in it.

    Args:
        file: the text.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        self._wanted = _PIECE
        self._scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed leaves it out
        self._keys: dict[str, str] = {}

    def read(self) -> Any:
        """The whole document.

        Raises:
            ValueError: if something in it is not valid.
        """
        value = self._object() if self._next() == "{" else self._value()
        if self._next():
            raise ValueError("text behind the document")
        return value

    def _value(self) -> Any:
        return self._array() if self._next() == "[" else self._element()

    def _object(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return content
        while True:
            if self._next() != '"':
                raise ValueError("a key is missing")
            key = self._element()
            self._take(":")
            content[key] = self._value()
            if self._take(",}") == "}":
                return content

    def _array(self) -> list[Any]:
        elements: list[Any] = []
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return elements
        scan, shared = self._scan, self._keys.setdefault
        while True:
            # This is what nearly every element goes through; the rest is for the ends of pieces.
            try:
                element, at = scan(self._text, self._at)
                behind = _BEHIND_ELEMENT(self._text, at)
            except (StopIteration, json.JSONDecodeError):
                behind = None
            if behind is not None and behind.end() < len(self._text):
                self._at = behind.end()
                mark = behind[1]
            else:
                element = self._element()
                mark = self._take(",]")
            if type(element) is dict:
                element = {shared(key, key): value for key, value in element.items()}
            elements.append(element)
            if mark == "]":
                return elements

    def _element(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (StopIteration, json.JSONDecodeError):
                if not self._read_more():
                    raise ValueError("not valid, or cut short") from None
                continue
            if end == len(self._text) and self._read_more():
                continue  # a number may go on
            self._at = end
            self._wanted = _PIECE
            return value

    def _take(self, marks: str) -> str:
        mark = self._next()
        if not mark or mark not in marks:
            raise ValueError(f"none of {marks}")
        self._at += 1
        self._next()
        return mark

    def _next(self) -> str:
        """The character that follows when space is left out; none at the end."""
        while True:
            self._at = _SPACE(self._text, self._at).end()  # type: ignore[union-attr]  # matches anything
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def _read_more(self) -> bool:
        content = self._file.read(self._wanted)
        piece = self._decode(content, final=not content)
        self._wanted *= 2  # an element that is longer than a piece is not to be parsed in each
        self._text = self._text[self._at :] + piece
        self._at = 0
        return bool(content)
