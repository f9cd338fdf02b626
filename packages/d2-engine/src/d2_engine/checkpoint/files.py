"""The checkpoints of a folder: which is the last one, and which others there are."""

import logging
import re
from pathlib import Path

from d2_config.files import write_atomically

_logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "last_checkpoint"
_SUFFIX = ".pth"
_OF_A_RUN = re.compile(r".+_(\d+|final)\.pth")
_LONGEST_NAME = 255


class CheckpointFiles:
    """A folder with checkpoints, and the file ``last_checkpoint`` that names the newest one.

    Args:
        folder: which may not exist yet.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def last(self) -> Path | None:
        """Return the path that is named as the last checkpoint, whether there is such a file.

        None if none is named; a note that is no name of a file is reported and taken for none.
        """
        note = self._folder / LAST_CHECKPOINT
        if not note.is_file():
            return None
        content = note.read_bytes()[: 4 * _LONGEST_NAME]
        name = content.decode(errors="replace").strip()
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or "�" in name:
            _logger.warning("%s is damaged: it holds no name of a file", note)
            return None
        if Path(name).name != name or name in (".", ".."):
            _logger.warning("%s names %r, which is not in its folder", note, name)
            return None
        return self._folder / name

    def note_last(self, name: str) -> None:
        """Name the newest checkpoint, a file of the folder."""
        write_atomically(self._folder / LAST_CHECKPOINT, name)

    def all(self) -> list[Path]:
        """Return the checkpoints by name."""
        return sorted(p for p in self._folder.glob(f"*{_SUFFIX}") if p.is_file())

    def to_resume_from(self) -> list[Path]:
        """Return what a run may go on from, the best first.

        That is the last checkpoint, and behind it those that the schedule saved, newest first. They
        count also where no last one is named: a run may be killed before it is.
        """
        last = self.last()
        of_a_run = [path for path in self.all() if _OF_A_RUN.fullmatch(path.name)]
        others = sorted(of_a_run, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)
        return [path for path in [last, *(p for p in others if p != last)] if path is not None]

    def periodic(self, prefix: str) -> list[tuple[int, Path]]:
        """Return iteration and path of each ``<prefix>_<iteration>.pth``, in their order."""
        name = re.compile(re.escape(prefix) + r"_(\d{7,})\.pth")
        found = ((name.fullmatch(path.name), path) for path in self.all())
        return sorted((int(match[1]), path) for match, path in found if match)
