"""Looking whether everything that a run left behind is whole."""

import os
from pathlib import Path

from d2_engine.checkpoint.files import LAST_CHECKPOINT, CheckpointFiles
from d2_engine.file_checks import CheckedFile, check_file
from d2_engine.run.folder import CONFIG, METRICS

_LEFT_BEHIND = ".tmp"


def check_run(folder: str | os.PathLike[str]) -> list[CheckedFile]:
    """Look at every file of a folder: of a run, or of what a model found in pictures.

    Args:
        folder: which may have folders in it.

    Returns:
        What was found out about each, by name. What a run needs and has not is among them.

    Raises:
        NotADirectoryError: if it is no folder.
        FileNotFoundError: if there is nothing in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder")
    paths = sorted(Path(parent, name) for parent, _, names in os.walk(root) for name in names)
    if not paths:
        raise FileNotFoundError(f"{root} is empty")
    checked = [_checked(path) for path in paths]
    if not (root / CONFIG).exists() and _is_of_a_run(root):
        checked.append(CheckedFile(root / CONFIG, "config", "", "it is missing"))
    return checked


def _is_of_a_run(root: Path) -> bool:
    return (root / LAST_CHECKPOINT).exists() or (root / METRICS).exists()


def _checked(path: Path) -> CheckedFile:
    if path.is_symlink() and not path.exists():
        return CheckedFile(path, "", "", "it is a link to nothing")
    if path.name == LAST_CHECKPOINT:
        return _checked_note(path)
    if path.name.endswith(_LEFT_BEHIND):
        return CheckedFile(path, "temporary file", "left by a process that was killed", "")
    return check_file(path)


def _checked_note(path: Path) -> CheckedFile:
    kind = "name of the newest checkpoint"
    named = CheckpointFiles(str(path.parent)).last()
    if named is None:
        return CheckedFile(path, kind, "", "it holds no name of a file beside it")
    if not named.is_file():
        return CheckedFile(path, kind, "", f"it names {named.name}, which is missing")
    return CheckedFile(path, kind, named.name, "")
