"""Looking whether a file is what was written, without running anything from it."""

import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from d2_engine.events import EVENT_FILES
from d2_engine.run.folder import METRICS

_PICKLED_CONFIG = ".yaml.pkl"
_LENGTH = struct.Struct("<Q")
_AROUND_LENGTH = 4
"""Bytes of the checksum behind the length of a record, and of that behind the record."""

_LONGEST_RECORD = 1 << 30


class CheckedFile(NamedTuple):
    """What was found out about a file.

    Attributes:
        path: of the file.
        kind: of its content, in a few words; "" if that is not known.
        found: what was compared, or what is worth knowing; "" if nothing was.
        problem: what is wrong; "" if nothing is.
    """

    path: Path
    kind: str
    found: str
    problem: str


class _Found(NamedTuple):
    kind: str
    found: str


def check_file(path: str | os.PathLike[str]) -> CheckedFile:
    """Look whether a file is whole.

    Checkpoints are compared with the checksums that they carry: ours of every byte, those of the
    zip format of every part. Other weights, configs, JSON, event files and pictures are read as
    they are by whoever uses them. Nothing in a file is executed; Python files are not looked into.

    Args:
        path: an ordinary file.

    Returns:
        What was found out; damage is told there, it is not raised.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    file = Path(path)
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        return CheckedFile(file, "", "", "it is no ordinary file")
    kind, look = _reader_of(file)
    if look is None:
        return CheckedFile(file, kind, "not looked into", "")
    try:
        found = look(file)
    except Exception as error:  # a damaged file can fail in any way
        return CheckedFile(file, kind, "", _told(error, file))
    return CheckedFile(file, found.kind, found.found, "")


Look = Callable[[Path], _Found]


def _reader_of(file: Path) -> tuple[str, Look | None]:
    name, suffix = file.name, file.suffix.lower()
    if name.startswith(EVENT_FILES):
        return "TensorBoard events", _look_at_events
    if name.endswith(_PICKLED_CONFIG):
        return "pickled config", None
    if name == METRICS:
        return "metrics", _look_at_metrics
    return _BY_SUFFIX.get(suffix, ("", None))


def _look_at_weights(file: Path) -> _Found:
    from d2_modeling.weights import names_of_nonfinite, read_checkpoint, verify_checksums

    checked = "readable; it carries no checksums"
    if file.suffix != ".safetensors" and zipfile.is_zipfile(file):
        compared = verify_checksums(file)
        checked = f"{compared} compared" if compared else checked
        if not isinstance(_content_of(file), dict):
            return _Found("torch file", checked)
    checkpoint = read_checkpoint(file)
    weights = checkpoint.get("model", checkpoint.get("blobs", {}))
    kind = f"checkpoint, {len(weights)} values"
    if isinstance(iteration := checkpoint.get("iteration"), int):
        kind += f", iteration {iteration}"
    if bad := names_of_nonfinite({k: v for k, v in weights.items() if hasattr(v, "isfinite")}):
        checked += f"; NaN or infinity in {', '.join(bad[:3])}"
    return _Found(kind, checked)


def _content_of(file: Path) -> Any:
    """What a torch file holds; a dictionary if it cannot be read: who reads it says why."""
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # a damaged file can fail in any way
        return {}


def _look_at_config(file: Path) -> _Found:
    from d2_engine.run.configs import read_settings

    read_settings(file)
    return _Found("config", "readable")


def _look_at_json(file: Path) -> _Found:
    content = json.loads(file.read_text(encoding="utf-8"))
    count = f", {len(content)} entries" if isinstance(content, (dict, list)) else ""
    return _Found(f"JSON{count}", "readable")


def _look_at_metrics(file: Path) -> _Found:
    last, lines = -1, 0
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            iteration = json.loads(line)["iteration"]
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} is damaged or not whole ({error})") from error
        if not isinstance(iteration, int) or iteration <= last:
            raise ValueError(f"line {number} is of iteration {iteration}, the one before of {last}")
        last, lines = iteration, lines + 1
    return _Found("metrics", f"{lines} lines, to iteration {last}")


def _look_at_events(file: Path) -> _Found:
    """Follow the lengths of the records; a run that was killed may leave the last one short."""
    size, records = file.stat().st_size, 0
    with file.open("rb") as stream:
        while head := stream.read(_LENGTH.size):
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else _LONGEST_RECORD + 1
            if length > _LONGEST_RECORD and stream.tell() < size:
                raise ValueError(f"record {records} is damaged")
            if stream.tell() + length + 2 * _AROUND_LENGTH > size:
                return _Found("TensorBoard events", f"{records} records, the last one cut short")
            stream.seek(length + 2 * _AROUND_LENGTH, os.SEEK_CUR)
            records += 1
    return _Found("TensorBoard events", f"{records} records")


def _look_at_picture(file: Path) -> _Found:
    from d2_data.detection_utils import read_image

    height, width = read_image(file, "RGB").shape[:2]
    return _Found(f"picture, {width} x {height}", "decoded")


def _look_at_text(file: Path) -> _Found:
    with file.open(encoding="utf-8", errors="strict") as stream:
        lines = sum(1 for _ in stream)
    return _Found("text", f"{lines} lines")


_BY_SUFFIX: dict[str, tuple[str, Look | None]] = {
    **dict.fromkeys((".pth", ".pt", ".pyth", ".pkl"), ("checkpoint", _look_at_weights)),
    ".safetensors": ("checkpoint", _look_at_weights),
    **dict.fromkeys((".yaml", ".yml"), ("config", _look_at_config)),
    ".json": ("JSON", _look_at_json),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), ("picture", _look_at_picture)),
    **dict.fromkeys((".txt", ".log"), ("text", _look_at_text)),
    ".py": ("Python", None),
}


def _told(error: Exception, file: Path) -> str:
    """The first line of an error, without the name that stands beside it in a table."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0]
    for opening in (f"checkpoint {str(file)!r} ", f"{str(file)!r}: ", f"{file}: "):
        text = text.removeprefix(opening)
    return text
