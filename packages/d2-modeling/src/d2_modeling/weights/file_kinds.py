"""What a file is that is not what its name says."""

import os

_LOOKED_AT = 1024

_BEGINNINGS = {
    b"\x1f\x8b": "it is a gzip archive: unpack it first",
    b"BZh": "it is a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "it is an xz archive: unpack it first",
    b"7z\xbc\xaf": "it is a 7z archive: unpack it first",
    b"\x89HDF": "it is an HDF5 file, whose weights belong to another framework",
    b"version https://git-lfs": "it is a pointer of Git LFS and not the file: run git lfs pull",
    b"\x89PNG": "it is a picture",
    b"\xff\xd8\xff": "it is a picture",
    b"%PDF": "it is a PDF document",
}
_HTML = (b"<!doctype html", b"<html", b"<head")
_XML = (b"<?xml",)


def describe_content(path: str | os.PathLike[str]) -> str | None:
    """Say what a file is, with the remedy, if it is no file of weights at all.

    Args:
        path: an ordinary file.

    Returns:
        A sentence without a full stop; None if it may be a damaged file of weights.
    """
    with open(path, "rb") as file:
        beginning = file.read(_LOOKED_AT)
    if not beginning:
        return "it is empty: fetch it again"
    for signature, sentence in _BEGINNINGS.items():
        if beginning.startswith(signature):
            return sentence
    text = beginning.lstrip().lower()
    if text.startswith(_HTML + _XML) or b"<html" in text:
        return (
            "it is a web page, which a server sent in place of the file: fetch it again, logged in "
            "if need be"
        )
    if not beginning.strip(b"\0"):
        return "it begins with nothing but zeros, as after a loss of power: fetch it again"
    return "it is text, not weights: fetch it again" if _is_text(beginning) else None


def _is_text(content: bytes) -> bool:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        if error.start < len(content) - 3 or len(content) < _LOOKED_AT:
            return False
        text = content[: error.start].decode()
    return all(character.isprintable() or character in "\n\r\t" for character in text)
