"""Write a file whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(filename: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content`` to ``filename`` through a temporary file beside it.

    Missing parent folders are made. A reader sees the old file or the new one, never a part, and
    an interruption leaves the old one.

    Args:
        filename: the file to write or replace.
        content: text is written as UTF-8.
    """
    path = Path(filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; give this one the mode that open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
