"""Records that could not be loaded, listed across the processes that load."""

import json
import logging
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from d2_data.located_errors import picture

_logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]

_SHOWN_IN_FULL = 10


class SkippedRecord(NamedTuple):
    """A record that was left out.

    Attributes:
        record: what names it: its picture, or its place in the dataset.
        error: the type and message of what went wrong.
    """

    record: str
    error: str


class SkippedRecords:
    """A list of skipped records that all loading processes write and this one reads.

    It lies in a file, so that worker processes add to it however they were started, and what one
    that died had added stays. Iterating reads it; ``len`` counts.
    """

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="d2-skipped-", suffix=".jsonl")
        os.close(handle)
        self._path = Path(name)
        self._added_here = 0
        self._removal = weakref.finalize(self, _remove, name, os.getpid())

    def add(self, record: Any, error: Exception) -> None:
        """List a record, and log it; of many only the 10 first, then every power of two.

        Args:
            record: in the standard dataset format, or what else a dataset holds.
            error: what went wrong with it.
        """
        entry = SkippedRecord(picture(record), f"{type(error).__name__}: {_message(error)}")
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(entry).encode() + b"\n")  # one write: lines stay whole
        self._added_here += 1
        count = self._added_here
        if count <= _SHOWN_IN_FULL or count & (count - 1) == 0:
            _logger.warning("Skipped %s: %s (%d so far)", entry.record, entry.error, len(self))

    def __iter__(self) -> Iterator[SkippedRecord]:
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                yield SkippedRecord(*json.loads(line))

    def __len__(self) -> int:
        return self._path.read_bytes().count(b"\n") if self._path.exists() else 0

    def __getstate__(self) -> dict[str, Any]:
        # The file belongs to the process that made it.
        return {"_path": self._path, "_added_here": 0}

    def __repr__(self) -> str:
        return f"SkippedRecords({len(self)})"


def checked_on_error(value: str, where: str) -> OnError:
    """``value`` if it is ``"raise"`` or ``"skip"``.

    Raises:
        ValueError: otherwise.
    """
    if value not in ("raise", "skip"):
        raise ValueError(f"{where}: on_error is 'raise' or 'skip', got {value!r}")
    return value  # type: ignore[return-value]  # narrowed by the membership test


def _message(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return "; ".join([str(text), *getattr(error, "__notes__", ())])


def _remove(name: str, owner: int) -> None:
    if os.getpid() == owner:
        Path(name).unlink(missing_ok=True)
