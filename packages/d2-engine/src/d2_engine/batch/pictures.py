"""Reading the pictures of a part, ahead of the model that looks at them."""

import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from d2_data.detection_utils import read_image
from d2_engine.batch.parts import SUFFIXES, Part, listed_paths

_AHEAD = 8
_THREADS = 2


class Read(NamedTuple):
    """A picture, or what is wrong with it.

    Attributes:
        name: its path; in a shard that of the shard, then the member's.
        image: (H, W, 3), BGR; None if it could not be read.
        error: why it could not.
    """

    name: str
    image: npt.NDArray[np.uint8] | None
    error: str | None = None


def read_pictures(part: Part) -> Iterator[Read]:
    """Read the pictures of a part in their order, a few ahead.

    What cannot be read comes with its reason; a shard that is damaged ends with one such entry.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        waiting: deque[Future[Read]] = deque()
        for read in _readers(part):
            waiting.append(threads.submit(read))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _readers(part: Part) -> Iterator[Callable[[], Read]]:
    if part.kind == "shard":
        yield from _members(part.source)
        return
    for path in part.files if part.kind == "files" else listed_paths(part):
        yield _FromFile(path)


@attrs.frozen
class _FromFile:
    path: Any

    def __call__(self) -> Read:
        if not isinstance(self.path, str):
            return Read(str(self.path), None, f"the path of a picture is text, not {self.path!r}")
        return _read(self.path, self.path)


@attrs.frozen
class _FromBytes:
    name: str
    content: bytes

    def __call__(self) -> Read:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"picture{Path(self.name).suffix}")
            path.write_bytes(self.content)
            return _read(self.name, str(path))


@attrs.frozen
class _Failed:
    name: str
    error: str

    def __call__(self) -> Read:
        return Read(self.name, None, self.error)


def _read(name: str, path: str) -> Read:
    try:
        return Read(name, read_image(path, format="BGR"))
    except Exception as error:  # whatever a decoder makes of a strange file
        text = str(error) or type(error).__name__
        return Read(name, None, f"the picture could not be read: {text.replace(path, name)}")


def _members(shard: str) -> Iterator[Callable[[], Read]]:
    try:
        with tarfile.open(shard, "r|*") as archive:
            for member in archive:
                if not member.isfile() or Path(member.name).suffix.lower() not in SUFFIXES:
                    continue
                file = archive.extractfile(member)
                assert file is not None  # as it is a file
                yield _FromBytes(f"{shard}/{member.name}", file.read())
    except (OSError, tarfile.TarError, EOFError) as error:
        yield _Failed(shard, f"the shard is damaged or cut short here: {error}")
