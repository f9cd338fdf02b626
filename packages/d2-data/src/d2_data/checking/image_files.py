"""The heads of image files: sizes, orientation, and what is damaged or repeated."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

from d2_data.image_reading import load_pixels, opened_image, orientation_of, other_spelling
from d2_structures import check_picture_file

Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""Takes an iterable and its length, yields its elements, and shows how far it is."""

_PROBE = 1 << 14
"""Bytes at either end of a file that tell files apart before all of two are compared."""

_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_BYTES_BEHIND_END = 4096


class ImageHead(NamedTuple):
    """What the beginning and the end of an image file tell.

    Attributes:
        height: of the upright image.
        width: of the upright image.
        orientation: EXIF's number; 1 for one that is stored upright.
        trouble: the kind of finding if the file is missing or damaged, or None.
        message: what is the matter then.
        fingerprint: equal for equal files, and nearly always different for others.
    """

    height: int = 0
    width: int = 0
    orientation: int = 1
    trouble: str | None = None
    message: str = ""
    fingerprint: bytes = b""


def read_heads(
    paths: Sequence[str], *, decode: bool, threads: int, progress: Progress | None
) -> list[ImageHead]:
    """Look at image files, several at a time.

    Args:
        paths: of the files.
        decode: whether to decode each wholly, which finds all that is damaged.
        threads: how many files are read at the same time.
        progress: shows how far it is.
    """
    with ThreadPoolExecutor(threads) as pool:
        heads: Iterator[ImageHead] = pool.map(lambda path: read_head(path, decode=decode), paths)
        return list(heads if progress is None else progress(heads, len(paths)))


def read_head(path: str, *, decode: bool = False) -> ImageHead:
    """Look at one image file; what is wrong with it is told, not raised."""
    if not os.path.exists(path):
        path = other_spelling(path) or path
    try:
        check_picture_file(path)
        with open(path, "rb") as file:
            fingerprint, tail = _ends(file)
            with opened_image(path, file) as picture:
                orientation = orientation_of(picture)
                width, height = picture.size
                if orientation >= 5:
                    width, height = height, width
                head = ImageHead(height, width, orientation, None, "", fingerprint)
                if decode:
                    load_pixels(picture, path)
                elif _is_cut_short(picture, tail):
                    message = "has no end mark: it was probably cut short while it was copied"
                    return head._replace(trouble="file-cut-short", message=message)
                return head
    except FileNotFoundError:
        return ImageHead(trouble="file-missing", message=f"has no file {path!r}")
    except OSError as error:
        return ImageHead(trouble="file-unreadable", message=f"cannot be read: {error}")


def repeated_files(paths: Sequence[str], heads: Sequence[ImageHead]) -> list[list[int]]:
    """Groups of files that are equal byte for byte, by their places, in order."""
    alike: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, head in enumerate(heads):
        if head.fingerprint:
            alike[head.fingerprint].append(place)
    groups = []
    for places in alike.values():
        distinct: dict[str, int] = {}
        for place in places:
            distinct.setdefault(os.path.realpath(paths[place]), place)
        if len(distinct) < 2:
            continue
        equal: defaultdict[bytes, list[int]] = defaultdict(list)
        for place in distinct.values():
            with open(paths[place], "rb") as file:
                equal[hashlib.file_digest(file, "blake2b").digest()].append(place)
        groups += [group for group in equal.values() if len(group) > 1]
    return sorted(groups)


def _ends(file: BinaryIO) -> tuple[bytes, bytes]:
    """A fingerprint of the size and both ends, and the last bytes; the file is rewound."""
    head = file.read(_PROBE)
    size = os.fstat(file.fileno()).st_size
    tail = head
    if size > len(head):
        file.seek(max(size - _PROBE, 0))
        tail = file.read(_PROBE)
    file.seek(0)
    digest = hashlib.blake2b(head, digest_size=16)
    digest.update(tail)
    digest.update(size.to_bytes(8, "little"))
    return digest.digest(), tail


def _is_cut_short(picture: Image.Image, tail: bytes) -> bool:
    mark = _END_MARKS.get(picture.format or "")
    return mark is not None and mark not in tail[-_BYTES_BEHIND_END:]
