"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(filename: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``filename`` that takes its place when the block succeeds.

    Missing parent folders are made. A reader sees the old file or the new one, never a part. If
    the block raises, the temporary file is removed and ``filename`` stays as it was.
    """
    path = Path(filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        os.close(descriptor)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the mode that open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(filename: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content`` to ``filename`` whole or not at all, text as UTF-8; see `replacing`."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(filename) as temporary:
        temporary.write_bytes(data)
