"""Files that are there whole or not at all."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system calls a disk, a quota or a limit that is full."""

_TEMPORARY = re.compile(r"\..+\.[A-Za-z0-9_]{8}\.tmp")
"""Names of temporary files: ``.NAME.xxxxxxxx.tmp``."""


class DiskFullError(OSError):
    """There is no space left for a file; names it, and what is free."""


@contextmanager
def replacing(filename: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``filename`` that takes its place when the block succeeds.

    Missing parent folders are made. A reader sees the old file or the new one, never a part, also
    after the machine has lost its power. If the block raises, the temporary file is removed and
    ``filename`` stays as it was; what a killed process left is removed by :func:`remove_leftovers`.

    Raises:
        DiskFullError: (an ``OSError``) where the disk or a quota is full.
    """
    path = Path(filename)
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            _lock(descriptor)  # as long as it is open: by this it is known whether we live
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            # mkstemp makes private files; give this one the mode that open() would have given.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            if os.name == "nt":
                os.close(descriptor)  # an open file cannot be renamed there
                descriptor = -1
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            temporary.unlink(missing_ok=True)


def write_atomically(filename: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content`` to ``filename`` whole or not at all, text as UTF-8; see `replacing`."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(filename) as temporary:
        temporary.write_bytes(data)


def append_whole(filename: str | os.PathLike[str], content: str | bytes) -> None:
    """Append ``content`` to ``filename`` whole or not at all, text as UTF-8.

    Missing parent folders are made. The file is open no longer than for this; whoever kills the
    process while it writes may leave a part.

    Raises:
        DiskFullError: (an ``OSError``) where the disk or a quota is full; the file is as it was.
    """
    path = Path(filename)
    data = memoryview(content.encode() if isinstance(content, str) else content)
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(before)
                raise


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove temporary files of :func:`replacing` in a folder whose process was killed.

    Files that a living process writes at the moment are left alone; where files cannot be locked,
    so are all.

    Returns:
        What was removed.
    """
    removed = []
    for path in sorted(Path(folder).glob(".*.tmp")):
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and _is_abandoned(path):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


@contextmanager
def naming_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let a full disk be one plain error that names what was to be written.

    Args:
        path: the file that the block writes.

    Raises:
        DiskFullError: (an ``OSError``) in place of the system's error, which names nothing.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE or isinstance(error, DiskFullError):
            raise
        raise full_disk_error(path, error.errno) from error


def full_disk_error(path: str | os.PathLike[str], number: int = errno.ENOSPC) -> DiskFullError:
    """Return the error of a file for which there is no space.

    Args:
        path: the file.
        number: the system's error number.
    """
    limit = {errno.EDQUOT: " (a quota is used up)", errno.EFBIG: " (a limit on the size of files)"}
    return DiskFullError(
        number,
        f"no space left on the device{limit.get(number, '')}: {os.fspath(path)!r} was not written, "
        f"and what was there before is as it was; {_free_space(Path(path))}. Make room and try "
        "again",
    )


def _free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:,.1f} MiB are free"
    except OSError:
        return "the free space is not known"


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a loss of power, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # Windows, and folders that may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file without waiting; false if another process has, or it is not possible."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)
