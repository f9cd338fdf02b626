"""Many files, each made of others, by several threads."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from d2_config.files import write_atomically

__all__ = ["Prepared", "Progress", "make_files", "png_of", "results_of"]

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Shows how far a loop is: takes what comes out, how much it will be, and a description."""

T = TypeVar("T")
R = TypeVar("R")


class Prepared(NamedTuple):
    """What was done.

    Attributes:
        written: how many files were written.
        kept: how many were there already.
    """

    written: int
    kept: int

    def __add__(self, other: "Prepared") -> "Prepared":  # type: ignore[override]  # sums, not a longer tuple
        return Prepared(self.written + other.written, self.kept + other.kept)


def make_files(
    sources: Sequence[T],
    target_of: Callable[[T], Path],
    make: Callable[[T], bytes],
    *,
    description: str,
    overwrite: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Make one file of each source; each is there whole or not at all.

    Args:
        sources: what files are made of.
        target_of: the file that is made of a source.
        make: gives its content.
        description: for ``progress``.
        overwrite: whether to make files that are there already.
        num_workers: threads; None takes one per core. Decoding, drawing and encoding leave
            Python's lock alone.
        progress: shows how far it is.

    Raises:
        Exception: the first that ``make`` raises; files that were made stay.
    """
    due = [source for source in sources if overwrite or not target_of(source).exists()]

    def run(source: T) -> None:
        write_atomically(target_of(source), make(source))

    results_of(run, due, description=description, num_workers=num_workers, progress=progress)
    return Prepared(len(due), len(sources) - len(due))


def results_of(
    function: Callable[[T], R],
    sources: Sequence[T],
    *,
    description: str,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> list[R]:
    """Call a function of each source in several threads; the results are in their order.

    Raises:
        Exception: the first that ``function`` raises; what has not begun is left undone.
    """
    with ThreadPoolExecutor(num_workers or os.cpu_count() or 1) as pool:
        done: Iterable[R] = _in_order(pool, function, sources)
        return list(done if progress is None else progress(done, len(sources), description))


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[T], R], sources: Sequence[T]
) -> Iterator[R]:
    futures = [pool.submit(function, source) for source in sources]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def png_of(labels: np.ndarray) -> bytes:
    """A PNG file of an (H, W) uint8 array."""
    file = io.BytesIO()
    Image.fromarray(labels).save(file, format="PNG")
    return file.getvalue()
