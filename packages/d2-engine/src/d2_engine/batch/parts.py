"""The pictures of a batch, divided into parts that are done whole or not at all."""

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Literal

import attrs

from d2_engine.batch.extra import import_extra

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_COLUMNS = ("path", "file_name", "file", "image")


@attrs.frozen(kw_only=True)
class Part:
    """Some pictures, by where they are.

    Attributes:
        number: from 0; the name of the part's file is made of it.
        kind: ``files``, rows of a Parquet ``list``, or a whole ``shard`` (a tar archive).
        files: the pictures, of ``files``.
        source: the Parquet file or the shard.
        column: of the Parquet file, with the paths.
        start, stop: rows of the Parquet file.
    """

    number: int
    kind: Literal["files", "list", "shard"]
    files: tuple[str, ...] = ()
    source: str = ""
    column: str = ""
    start: int = 0
    stop: int = 0


def find_parts(
    words: Iterable[str], pictures_per_part: int, *, column: str | None = None
) -> list[Part]:
    """Divide the pictures that some words mean; the same words are always divided alike.

    Args:
        words: pictures; folders, with all that is below them; Parquet files with a column of
            paths, which count from the file's folder; tar archives with pictures; and patterns of
            those, such as ``"shards/*.tar"``. A shard is one part.
        pictures_per_part: at most, of other parts than shards.
        column: of the Parquet files; by default ``path``, ``file_name``, ``file`` or ``image``.

    Raises:
        FileNotFoundError: for a word that means nothing.
        ValueError: if a Parquet file has no such column, or ``pictures_per_part`` is below 1.
    """
    if pictures_per_part < 1:
        raise ValueError(f"pictures_per_part is at least 1, got {pictures_per_part}")
    paths = dict.fromkeys(path for word in words for path in _paths(word))
    numbers = count()
    pictures = [path for path in paths if Path(path).suffix.lower() in SUFFIXES]
    parts = [
        Part(number=next(numbers), kind="files", files=tuple(pictures[i : i + pictures_per_part]))
        for i in range(0, len(pictures), pictures_per_part)
    ]
    for path in paths:
        if path.endswith(".parquet"):
            parts += _rows(path, column, pictures_per_part, numbers)
        elif path.endswith(".tar"):
            parts.append(Part(number=next(numbers), kind="shard", source=path))
    return parts


def fingerprint(parts: Iterable[Part]) -> str:
    """Return what tells these parts from others: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()


def _paths(word: str) -> Iterator[str]:
    path = Path(word)
    if path.is_dir():
        found = _below(path)
        first = next(found, None)
        if first is None:
            raise FileNotFoundError(f"the folder {word} has no pictures, Parquet files or shards")
        yield first
        yield from found
    elif path.is_file():
        if not _is_wanted(path.name):
            raise ValueError(
                f"{word} is no picture ({', '.join(sorted(SUFFIXES))}), no .parquet with a column "
                "of paths and no .tar with pictures"
            )
        yield str(path)
    else:
        matches = sorted(glob.glob(word, recursive=True)) if glob.has_magic(word) else []
        wanted = [match for match in matches if _is_wanted(match) and os.path.isfile(match)]
        if not wanted:
            raise FileNotFoundError(f"there are no pictures, Parquet files or shards at {word}")
        yield from wanted


def _below(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if _is_wanted(name):
                yield os.path.join(root, name)


def _is_wanted(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES or name.endswith((".parquet", ".tar"))


def _rows(path: str, column: str | None, at_most: int, numbers: Iterator[int]) -> Iterator[Part]:
    file = import_extra("pyarrow.parquet").ParquetFile(path)
    names = file.schema_arrow.names
    chosen = next((name for name in ((column,) if column else _COLUMNS) if name in names), None)
    if chosen is None:
        wanted = repr(column) if column else f"one of {', '.join(_COLUMNS)}"
        raise ValueError(
            f"{path} has no column {wanted} with the paths of pictures; it has {', '.join(names)}"
        )
    total = file.metadata.num_rows
    for start in range(0, total, at_most):
        yield Part(
            number=next(numbers),
            kind="list",
            source=path,
            column=chosen,
            start=start,
            stop=min(start + at_most, total),
        )


def listed_paths(part: Part) -> Iterator[Any]:
    """Give what the rows of a part of a Parquet file hold; paths count from the file's folder."""
    file = import_extra("pyarrow.parquet").ParquetFile(part.source)
    folder = Path(part.source).parent
    first = 0
    for group in range(file.num_row_groups):
        end = first + file.metadata.row_group(group).num_rows
        begin, stop = max(first, part.start), min(end, part.stop)
        if begin < stop:
            column = file.read_row_group(group, columns=[part.column])[part.column]
            for value in column.slice(begin - first, stop - begin).to_pylist():
                yield str(folder / value) if isinstance(value, str) else value
        first = end
