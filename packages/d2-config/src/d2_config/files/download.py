"""Downloads that are continued where they broke off."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .atomic_file import naming_full_disk, replacing

_logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30
_ATTEMPTS = 5
_CHUNK = 1 << 20
_PARTIAL = 206
_NOT_SATISFIABLE = 416


def download(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Download a file, all of it or nothing.

    What has come is kept beside the target, in ``NAME.part``, until it is complete: the next call
    asks for the rest, if the file on the server is still the same. Of several processes that want
    the same file one downloads it, and the others wait.

    Args:
        url: an ``http(s)`` address.
        target: the file to make; missing folders are made.
        check: raises ValueError if the complete file is not what it should be.

    Raises:
        ConnectionError: if it cannot be downloaded.
        ValueError: what ``check`` raised; what has come is removed.
        OSError: if it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    before = _identity(target)
    with naming_full_disk(target), part.locked():
        if _identity(target) != before:  # another process was faster
            return
        _logger.info("Downloading %s to %s", url, target)
        for attempt in range(_ATTEMPTS):
            have = part.size
            try:
                _receive(url, part)
                break
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                if part.size <= have or attempt == _ATTEMPTS - 1:
                    reason = getattr(error, "reason", None) or error
                    raise ConnectionError(f"cannot download {url}: {reason}") from error
                _logger.warning("The download broke off after %d bytes: %s", part.size, error)
        try:
            check(part.path)
        except ValueError:
            part.remove()
            raise
        with replacing(target) as temporary:
            os.replace(part.path, temporary)
        part.remove()


class _Part:
    """What has come of a download, and which state of the server's file that belongs to."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._validator = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self) -> str | None:
        """What the server called the state of its file; None if it cannot be continued."""
        try:
            value = json.loads(self._validator.read_bytes())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, str) and value.isprintable() and self.size else None

    def begin(self, validator: str | None) -> None:
        """Forget what has come, of another state of the file."""
        self.path.write_bytes(b"")
        self._validator.write_text(json.dumps(validator))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process downloads into the same folder."""
        try:
            import fcntl

            folder = os.open(self.path.parent, os.O_RDONLY)
        except (ImportError, OSError):  # Windows
            yield
            return
        try:
            with suppress(OSError):  # file systems without locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _receive(url: str, part: _Part) -> None:
    """Bring the rest of a file, or all of it."""
    headers, validator = {}, part.validator()
    if validator is not None:
        headers = {"Range": f"bytes={part.size}-", "If-Range": validator}
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()  # it is the answer, too
        if error.code != _NOT_SATISFIABLE or validator is None:
            raise
        part.remove()
        response = urlopen(Request(url), timeout=_TIMEOUT_SECONDS)
    with response:
        begin, total = _range_of(response)
        if begin not in (0, part.size):
            part.remove()
            raise ConnectionError(f"the server went on at byte {begin}, which was not asked for")
        if begin == 0:
            part.begin(response.headers.get("ETag") or response.headers.get("Last-Modified"))
        with part.path.open("ab") as file:
            _copy(response, file)
    if total is not None and part.size != total:
        raise ConnectionError(f"the connection ended after {part.size} of {total} bytes")


def _copy(response: IO[bytes], file: IO[bytes]) -> None:
    while chunk := response.read(_CHUNK):
        file.write(chunk)


def _range_of(response: Any) -> tuple[int, int | None]:
    """Where the content of an answer begins in the file, and how long the file is."""
    length = response.headers.get("Content-Length")
    whole = int(length) if length is not None and length.isdecimal() else None
    if response.status != _PARTIAL:
        return 0, whole
    named = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if named is None:
        return 0, whole
    return int(named[1]), None if named[2] == "*" else int(named[2])


def _identity(path: Path) -> tuple[int, int] | None:
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
