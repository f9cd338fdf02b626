"""What came of a file: its new content, and what a human has to look at."""

from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """Something that a human has to decide or do."""

    line: int
    """Of the file as it was, from 1."""
    what: str
    """The name or text that is meant."""
    why: str
    """Why it was not rewritten, or what to look at, and the remedy."""


class Migrated(NamedTuple):
    """A file before and after."""

    path: Path
    before: bytes
    after: bytes
    findings: tuple[Finding, ...]
    """By line; empty where nothing is left to a human."""

    @property
    def is_changed(self) -> bool:
        """Whether anything was rewritten."""
        return self.before != self.after
