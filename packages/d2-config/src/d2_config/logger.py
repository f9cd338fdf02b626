"""Set up log output, and log a message only now and then."""

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import FrameType
from typing import TextIO

from .files.atomic_file import NO_SPACE

FAMILY = "d2"
PACKAGES = (
    "d2_config",
    "d2_ops",
    "d2_structures",
    "d2_data",
    "d2_modeling",
    "d2_eval",
    "d2_engine",
)

FILE_ONLY = {"file_only": True}
"""For ``extra`` of a logging call: what the terminal shows in another way already."""

_TIME_AND_NAME = "[%(asctime)s %(name)s]: "
_PLAIN_FORMAT = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"
_DATE_FORMAT = "%m/%d %H:%M:%S"
_GREEN, _RED, _UNDERLINED_RED, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[4;31m", "\x1b[0m"


def setup_logger(
    output: str | os.PathLike[str] | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = FAMILY,
    abbrev_name: str | None = None,
    terminal_level: int | str | None = None,
) -> logging.Logger:
    """Send a logger's messages to standard output and to a file.

    The file is the whole record: it takes ``DEBUG`` and above. Standard output takes the same, or
    less: what is below ``terminal_level``, and messages logged with ``extra=FILE_ONLY``, go to
    files only. ::

        logger = setup_logger("output", terminal_level="INFO")
        logger.info("in both")
        logger.debug("in the file")
        logger.info("a long table, in the file", extra=FILE_ONLY)

    Calling it again adds what is missing, sets the level if one is given, and repeats nothing.

    Args:
        output: a file name ending in ``.txt`` or ``.log``, or a folder in which ``log.txt`` is
            written. ``None`` writes no file. Files are appended to, missing folders made.
        distributed_rank: only rank 0 prints; other ranks write to the file name followed by
            ``.rank{n}``.
        color: colour the output where it is a terminal and ``NO_COLOR`` is not set.
        name: the root module of the logger. The default, ``"d2"``, stands for all d2 packages.
        abbrev_name: what to print for ``name``; ``""`` leaves it out. By default ``"detectron2"``
            is shortened to ``"d2"`` and other names are left alone.
        terminal_level: what standard output takes at least, such as ``logging.INFO`` or
            ``"INFO"``. ``None`` leaves it as an earlier call set it, at first ``DEBUG``.

    Returns:
        The logger called ``name``.

    Raises:
        ValueError: if there is no level of that name.
    """
    if abbrev_name is None:
        abbrev_name = FAMILY if name == "detectron2" else name
    names = (name, *PACKAGES) if name == FAMILY else (name,)
    loggers = [logging.getLogger(logger_name) for logger_name in names]
    present = [handler for logger in loggers for handler in logger.handlers]
    handlers: list[logging.Handler] = []
    if distributed_rank == 0:
        found = next((h for h in present if isinstance(h, _ConsoleHandler)), None)
        console = found or _ConsoleHandler(name, abbrev_name, color=color)
        if terminal_level is not None:
            console.setLevel(terminal_level)
        handlers.append(console)
    log_file = _log_file(output, distributed_rank)
    if log_file is not None:
        file = next((h for h in present if _file_of(h) == log_file), None)
        handlers.append(file or _file_handler(log_file, name, abbrev_name))
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)  # adding one again has no effect
    return logging.getLogger(name)


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Log only the first ``n`` times.

    Args:
        lvl: the logging level.
        msg: the message.
        n: how many times it may be logged.
        name: the logger; by default the caller's module.
        key: what makes two calls the same: ``"caller"`` (the line that calls), ``"message"``, or
            a tuple of both.

    Raises:
        ValueError: if ``key`` holds anything else.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    if not keys or not set(keys) <= {"caller", "message"}:
        raise ValueError(f"key must be 'caller', 'message' or a tuple of them, got {key!r}")
    frame = sys._getframe(1)
    identity: tuple[object, ...] = ("first",)
    if "caller" in keys:
        identity += _line_of(frame)
    if "message" in keys:
        identity += (msg,)
    if _count(identity) <= n:
        _logger_for(name, frame).log(lvl, msg, stacklevel=2)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first and then every ``n``-th time that the calling line runs.

    Args:
        lvl: the logging level.
        msg: the message.
        n: how many calls make one message, at least 1.
        name: the logger; by default the caller's module.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n!r}")
    frame = sys._getframe(1)
    if (_count(("every", *_line_of(frame))) - 1) % n == 0:
        _logger_for(name, frame).log(lvl, msg, stacklevel=2)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log no more often than once in ``n`` seconds for the calling line.

    Args:
        lvl: the logging level.
        msg: the message.
        n: the pause between two messages, in seconds.
        name: the logger; by default the caller's module.
    """
    frame = sys._getframe(1)
    line, now = _line_of(frame), time.monotonic()
    with _lock:
        last = _last_logged.get(line)
        due = last is None or now - last >= n
        if due:
            _last_logged[line] = now
    if due:
        _logger_for(name, frame).log(lvl, msg, stacklevel=2)


def create_small_table(small_dict: Mapping[str, object]) -> str:
    """Format a few values as a table of one row, keys above it; floats get three decimals.

    Args:
        small_dict: column title to value. Suited to tables that fit one line.
    """
    titles = [str(title) for title in small_dict]
    cells = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in small_dict.values()]
    widths = [max(len(t), len(c), 3) for t, c in zip(titles, cells, strict=True)]

    def row(texts: list[str]) -> str:
        padded = (text.center(width) for text, width in zip(texts, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = "|".join(f":{'-' * width}:" for width in widths)
    return "\n".join([row(titles), f"|{rule}|", row(cells)])


_lock = threading.Lock()
_counts: Counter[tuple[object, ...]] = Counter()
_last_logged: dict[tuple[str, int, str], float] = {}


def _count(identity: tuple[object, ...]) -> int:
    with _lock:
        _counts[identity] += 1
        return _counts[identity]


def _line_of(frame: FrameType) -> tuple[str, int, str]:
    return (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _logger_for(name: str | None, frame: FrameType) -> logging.Logger:
    return logging.getLogger(name or frame.f_globals.get("__name__"))


def _log_file(output: str | os.PathLike[str] | None, rank: int) -> str | None:
    if output is None:
        return None
    path = os.fspath(output)
    if not path.endswith((".txt", ".log")):
        path = os.path.join(path, "log.txt")
    if rank > 0:
        path = f"{path}.rank{rank}"
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def _file_of(handler: logging.Handler) -> str | None:
    return handler.baseFilename if isinstance(handler, logging.FileHandler) else None


def _file_handler(log_file: str, name: str, abbreviation: str) -> logging.FileHandler:
    handler = _LogFile(log_file, encoding="utf-8")
    handler.setFormatter(_AbbreviatingFormatter(name, abbreviation, _PLAIN_FORMAT))
    return handler


class _LogFile(logging.FileHandler):
    """A file of messages, without which work goes on while the disk is full."""

    _is_told = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not isinstance(error, OSError) or error.errno not in NO_SPACE:
            super().handleError(record)
        elif not self._is_told:
            self._is_told = True
            print(
                f"no space left on the device: {self.baseFilename!r} lacks what is logged until "
                "there is room again",
                file=sys.stderr,
            )


class _ConsoleHandler(logging.StreamHandler[TextIO]):
    """Write to whatever ``sys.stdout`` is at that moment, as redirections expect."""

    def __init__(self, name: str, abbreviation: str, *, color: bool) -> None:
        logging.Handler.__init__(self, logging.DEBUG)
        self.setFormatter(_ConsoleFormatter(name, abbreviation, color=color))

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("the console handler always writes to sys.stdout")

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(record, "file_only", False) and super().filter(record)


class _AbbreviatingFormatter(logging.Formatter):
    def __init__(self, name: str, abbreviation: str, fmt: str) -> None:
        super().__init__(fmt, datefmt=_DATE_FORMAT)
        self._name, self._abbreviation = name, abbreviation

    def format(self, record: logging.LogRecord) -> str:
        full_name = record.name
        record.name = self._shorten(full_name)
        try:
            return super().format(record)
        finally:
            record.name = full_name

    def _shorten(self, full_name: str) -> str:
        if full_name == self._name:
            return self._abbreviation
        if full_name.startswith(self._name + "."):
            rest = full_name[len(self._name) + 1 :]
            return f"{self._abbreviation}.{rest}" if self._abbreviation else rest
        return full_name


class _ConsoleFormatter(_AbbreviatingFormatter):
    def __init__(self, name: str, abbreviation: str, *, color: bool) -> None:
        super().__init__(name, abbreviation, _TIME_AND_NAME + "%(message)s")
        self._color = color

    def formatMessage(self, record: logging.LogRecord) -> str:
        color = self._color and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        prefix = _TIME_AND_NAME % record.__dict__
        if color:
            prefix = f"{_GREEN}{prefix}{_RESET}"
        if record.levelno >= logging.WARNING:
            style = _RED if record.levelno == logging.WARNING else _UNDERLINED_RED
            level = f"{style}{record.levelname}{_RESET}" if color else record.levelname
            prefix += level + " "
        return prefix + record.message
