"""Checksums of torch files: ours cover every byte, those of the zip format every part.

torch writes a CRC-32 of each part and does not look at it when it reads: a flipped bit is loaded as
another number. A file that was given a checksum of its own ends in a comment of the zip archive,
which readers of such archives pass over: ``d2-crc32:`` and the CRC-32 of all that comes before the
digits.
"""

import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

_MARK = b"d2-crc32:"
_DIGITS = 8
_COMMENT = re.compile(re.escape(_MARK) + rb"([0-9a-f]{8})")
_END_RECORD = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ZIP_SIGNATURE = b"PK\x03\x04"
_CHUNK = 1 << 22
_MAX_INFLATION = 100
"""Of compressed parts: torch writes none, and few bytes could fill the memory."""


class DamagedFileError(ValueError):
    """The content of a file is not what was written."""


def is_torch_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as the zip archives do that ``torch.save`` writes."""
    with open(path, "rb") as file:
        return file.read(4) == _ZIP_SIGNATURE


def add_checksum(path: str | os.PathLike[str]) -> None:
    """Give a file that ``torch.save`` wrote a checksum; any reader of such files still reads it.

    Raises:
        ValueError: if the file is none of torch's archives, or has a comment already.
    """
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        start = file.tell() - _END_RECORD.size
        if start < 0:
            raise ValueError(f"{os.fspath(path)!r} is no torch file")
        file.seek(start)
        *record, comment_length = _END_RECORD.unpack(file.read(_END_RECORD.size))
        if record[0] != _END_SIGNATURE or comment_length:
            raise ValueError(f"{os.fspath(path)!r} is no torch file, or has a checksum already")
        file.seek(start)
        file.write(_END_RECORD.pack(*record, len(_MARK) + _DIGITS) + _MARK)
        length = file.tell()
        file.seek(0)
        digits = f"{_crc(file, length):08x}".encode()
        file.seek(length)
        file.write(digits)


def verify_checksums(path: str | os.PathLike[str]) -> str:
    """Compare a torch archive with the checksums that it carries.

    Args:
        path: a zip archive, as ``torch.save`` writes them.

    Returns:
        What was compared: ``"every byte"``, ``"each of its 48 parts"``, or ``""`` if the file was
        written without checksums.

    Raises:
        DamagedFileError: (a ``ValueError``) if they differ, or the archive cannot be followed; says
            where.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_RECORD.size - len(_MARK) - _DIGITS))
        comment = _comment_of(file.read())
        if comment is not None:
            named = _COMMENT.fullmatch(comment)
            if named is None:
                raise DamagedFileError("the checksum at its end is damaged itself")
            file.seek(0)
            found = f"{_crc(file, size - _DIGITS):08x}"
            if found != named[1].decode():
                raise DamagedFileError(
                    f"its checksum is {found} and was {named[1].decode()} when it was written"
                )
            return "every byte"
    return _verify_parts(Path(path))


def _comment_of(tail: bytes) -> bytes | None:
    """The comment of an archive, if it is as long as ours; ``tail`` is the end of the file."""
    start = tail.rfind(_END_SIGNATURE)
    if start < 0 or len(tail) < start + _END_RECORD.size:
        return None
    length = _END_RECORD.unpack_from(tail, start)[-1]
    comment = tail[start + _END_RECORD.size :]
    if length > len(comment):
        raise DamagedFileError("it is cut short")
    return comment if length == len(_MARK) + _DIGITS else None


def _crc(file: BinaryIO, length: int) -> int:
    crc = 0
    while length > 0:
        chunk = file.read(min(length, _CHUNK))
        if not chunk:
            break
        crc = zlib.crc32(chunk, crc)
        length -= len(chunk)
    return crc


def _verify_parts(path: Path) -> str:
    """Compare each part of an archive with its own CRC-32."""
    different: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            for part in parts:
                if part.file_size > _MAX_INFLATION * max(part.compress_size, 1):
                    raise DamagedFileError(
                        f"its part {part.filename!r} of {part.compress_size} bytes would become "
                        f"{part.file_size} in memory"
                    )
                if not _agrees(archive, part):
                    different.append(part.filename)
    except DamagedFileError:
        raise
    except Exception as error:  # a damaged directory can fail in any way
        raise DamagedFileError(f"the archive is damaged: {error}") from error
    if parts and len(different) == len(parts):
        return ""  # torch.serialization.set_crc32_options(False) leaves another number there
    if different:
        shown = ", ".join(map(repr, different[:3]))
        raise DamagedFileError(f"the checksum of {shown} in it does not agree with the content")
    return f"each of its {len(parts)} parts"


def _agrees(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(part) as content:
            while content.read(_CHUNK):
                pass
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            return False
        raise
    return True
