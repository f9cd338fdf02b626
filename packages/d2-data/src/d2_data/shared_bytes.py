"""Bytes that all processes of a machine share: one copy in a file that is mapped into memory."""

import contextlib
import hashlib
import logging
import mmap
import os
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

try:
    import fcntl

    _SHARING = True
except ImportError:  # Windows: each process keeps a copy of its own
    _SHARING = False

__all__ = ["SharedBytes"]

_logger = logging.getLogger(__name__)

SMALL = 2**20
"""Bytes up to which contents stay in the process."""


class SharedBytes:
    """Read-only bytes of which a machine holds one copy, whoever else has the same ones.

    Large contents go to a file in the folder for temporary files that is named by their hash, so
    that other processes which come to the same bytes find it; all map it into memory. Whoever uses
    the file holds a lock on it. The last user removes it; one that was left by a process that was
    killed is removed by the next one that shares bytes. Small contents, and all where no such file
    can be made, stay in the process. Pickled, the object is the name of the file.

    Args:
        parts: makes the contents, one after the other; called again if they do not fit on disk.
        size: of the contents.
    """

    def __init__(self, parts: Callable[[], Iterable[bytes]], size: int) -> None:
        self._file = _written(parts, size) if size > SMALL else None
        self._content = b"" if self._file is not None else b"".join(parts())

    @property
    def view(self) -> memoryview:
        """The bytes."""
        return memoryview(self._content) if self._file is None else self._file.view

    @property
    def path(self) -> str | None:
        """The file that holds them; None if they are in the process."""
        return None if self._file is None else self._file.path

    def __len__(self) -> int:
        return len(self.view)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (self.path, self._content))


def _rebuilt(path: str | None, content: bytes) -> SharedBytes:
    shared = SharedBytes.__new__(SharedBytes)
    shared._content = content
    shared._file = None
    if path is not None:
        shared._file = _opened(path)
        if shared._file is None:
            raise FileNotFoundError(
                f"the shared records {path!r} are gone: the process that made them has ended"
            )
    return shared


class _MappedFile:
    """A file in memory, locked against removal while this process uses it.

    Args:
        path: the file.
        handle: of the opened and locked file.
    """

    def __init__(self, path: str, handle: int) -> None:
        self.path = path
        # Python's map has a handle of its own, and to close any of them gives up the lock: there
        # must be but one map of a file in a process.
        self.view = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ))
        weakref.finalize(self, _give_up, path, handle, os.getpid())


_in_use: "weakref.WeakValueDictionary[str, _MappedFile]" = weakref.WeakValueDictionary()


def _written(parts: Callable[[], Iterable[bytes]], size: int) -> _MappedFile | None:
    """Write contents to the file that their hash names, or find it there; None if that fails."""
    if not _SHARING:
        return None
    try:
        folder = _folder()
        _remove_unused(folder)
        handle, temporary = tempfile.mkstemp(prefix=".", dir=folder)
    except OSError as error:
        _say_not_shared(error, size)
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH)
        hashed = hashlib.blake2b(digest_size=20)
        with open(handle, "wb", closefd=False) as file:
            for part in parts():
                hashed.update(part)
                file.write(part)
        path = str(folder / f"{hashed.hexdigest()}.records")
        return _published(path, temporary, handle)
    except OSError as error:
        os.close(handle)
        _say_not_shared(error, size)
        return None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _say_not_shared(error: OSError, size: int) -> None:
    _logger.warning(
        "%.0f MiB of records cannot be put into a file for all processes to share (%s): each "
        "keeps its own copy. TMPDIR names another folder for such files",
        size / 2**20,
        error,
    )


def _published(path: str, temporary: str, handle: int) -> _MappedFile:
    """Give a complete file its name, or take the one that has it already."""
    while True:
        there = _opened(path)
        if there is not None:
            os.close(handle)
            return there
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
            _in_use[path] = mapped = _MappedFile(path, handle)
            return mapped


def _opened(path: str) -> _MappedFile | None:
    """The file in memory; None if it is not there (any more)."""
    mapped = _in_use.get(path)
    if mapped is not None:
        return mapped
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.lockf(handle, fcntl.LOCK_SH)
    if os.fstat(handle).st_nlink == 0:  # removed before it was locked
        os.close(handle)
        return None
    _in_use[path] = mapped = _MappedFile(path, handle)
    return mapped


def _folder() -> Path:
    """The folder of this user's files, which nobody else can write to."""
    folder = Path(tempfile.gettempdir(), f"d2-records-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def _give_up(path: str, handle: int, owner: int) -> None:
    """Stop using a file, and remove it if nobody else uses it."""
    os.close(handle)
    if os.getpid() == owner:  # a forked process leaves it to the one that it came from
        _remove_if_unused(path)


def _remove_unused(folder: Path) -> None:
    for path in folder.iterdir():
        if str(path) not in _in_use:
            _remove_if_unused(str(path))


def _remove_if_unused(path: str) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(handle)
