"""The lower edge of the terminal: lines that change in place while text scrolls above them."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from d2_eval.live.layout import LineContent, lay_out

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderResult

_REFRESHES_PER_SECOND = 4
_ERASE_LINE = "\r\x1b[2K"


class LiveLine:
    """A line below everything that is printed, redrawn several times a second.

    Several lines stand below each other in the order in which they were shown. What is printed
    or logged meanwhile appears above them and stays whole. Without a terminal at standard output
    or standard error, and without rich, nothing is shown.

    As a context manager it is shown inside the block.

    Args:
        describe: says what to show now. It is called by another thread and has to be quick.
    """

    def __init__(self, describe: Callable[[], LineContent]) -> None:
        self._describe = describe
        self._display: _Display | None = None

    @property
    def visible(self) -> bool:
        """Whether the line is being shown."""
        return self._display is not None

    def show(self) -> bool:
        """Show the line.

        Returns:
            Whether there is a terminal to show it in.
        """
        global _current
        with _lock:
            if self._display is None:
                if _current is None:
                    _current = _open_display()
                if _current is not None and _current.is_of_this_process:
                    _current.add(self)
                    self._display = _current
        return self.visible

    def hide(self, *, keep: bool = False) -> None:
        """Remove the line.

        Args:
            keep: leave what it says now as ordinary text above the lines that are left.
        """
        global _current
        with _lock:
            display = self._display
            if display is None or not display.is_of_this_process:
                return
            self._display = None
            display.remove(self, keep=keep)
            if display.is_empty:
                _current = None

    def refresh(self) -> None:
        """Redraw at once, if it is being shown."""
        display = self._display
        if display is not None:
            display.refresh()

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.hide()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield lay_out(self._describe(), options.max_width)


_lock = threading.RLock()
_current: _Display | None = None


class _Display:
    """The lines that are shown, and the streams and log handlers that write above them."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._lines: tuple[LiveLine, ...] = ()
        self._pid = os.getpid()
        # rich would redirect the streams as well, but wraps what they print at the terminal's
        # width and does not expect forked processes.
        self._live = Live(
            get_renderable=self._renderable,
            console=console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._redirections: list[tuple[str, TextIO, _AboveLines]] = []
        self._redirected_handlers: list[tuple[logging.StreamHandler[Any], TextIO]] = []

    @property
    def is_empty(self) -> bool:
        return not self._lines

    @property
    def is_of_this_process(self) -> bool:
        """False in forked processes, such as those of a data loader: they only inherited it."""
        return os.getpid() == self._pid

    def add(self, line: LiveLine) -> None:
        self._lines = (*self._lines, line)
        if len(self._lines) == 1:
            self._redirect()
            self._live.start()
            atexit.register(self._stop)
        self.refresh()

    def remove(self, line: LiveLine, *, keep: bool) -> None:
        others = tuple(other for other in self._lines if other is not line)
        if others:
            self._lines = others
            self.refresh()
        else:
            self._stop()  # while the line is there: rich before 14 leaves a blank one for nothing
            atexit.unregister(self._stop)
            self._lines = ()
        if keep:
            self._console.print(line)

    def refresh(self) -> None:
        self._live.refresh()

    def _renderable(self) -> Group:
        from rich.console import Group

        return Group(*self._lines)

    def _redirect(self) -> None:
        for name in ("stdout", "stderr"):
            stream: TextIO = getattr(sys, name)
            if stream.isatty():
                self._redirections.append((name, stream, _AboveLines(stream, self._console)))
        for name, _, above in self._redirections:
            setattr(sys, name, above)
        above_of = {id(stream): above for _, stream, above in self._redirections}
        for handler in _stream_handlers():
            above_lines = above_of.get(id(handler.stream))
            if above_lines is not None:
                self._redirected_handlers.append((handler, handler.stream))
                handler.setStream(above_lines)

    def _stop(self) -> None:
        """Take the lines away and give the streams back."""
        if not self.is_of_this_process:
            return
        self._live.stop()
        for handler, stream in self._redirected_handlers:
            handler.setStream(stream)
        for name, stream, above in self._redirections:
            if getattr(sys, name) is above:
                setattr(sys, name, stream)
            above.write_rest()
        self._redirected_handlers.clear()
        self._redirections.clear()


def _open_display() -> _Display | None:
    """A display at the terminal of this process, if it has one that can move its cursor."""
    stream = next((s for s in (sys.stdout, sys.stderr) if s is not None and s.isatty()), None)
    if stream is None:
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(file=stream)
    return _Display(console) if console.is_terminal and not console.is_dumb_terminal else None


def _stream_handlers() -> Iterable[logging.StreamHandler[Any]]:
    """Every log handler that writes to a stream, of whatever logger."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler):
                yield handler


class _AboveLines:
    """Stands in for a stream to the terminal while there are live lines below its text."""

    def __init__(self, stream: TextIO, console: Console) -> None:
        self._stream = stream
        self._console = console
        self._rest = ""
        self._pid = os.getpid()
        self._is_line_open = False
        self._write_lock = threading.RLock()

    def write(self, text: str) -> int:
        """Put whole lines above the live ones; an unfinished line waits for its end."""
        if os.getpid() != self._pid:
            return self._write_in_fork(text)
        with self._write_lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if lines:
                self._print("\n".join(_overwritten(line) for line in lines))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Show an unfinished line, such as a question; but not one that overwrites itself."""
        if os.getpid() != self._pid:
            self._stream.flush()
            return
        with self._write_lock:
            if self._rest and "\r" not in self._rest:
                rest, self._rest = self._rest, ""
                self._print(rest)

    def write_rest(self) -> None:
        """Write what is left of an unfinished line to the stream itself."""
        self._stream.write(_overwritten(self._rest))
        self._stream.flush()
        self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write_in_fork(self, text: str) -> int:
        """Write in place of the last live line, which the process that has it draws anew below."""
        start = "" if self._is_line_open or not text else _ERASE_LINE
        self._is_line_open = not text.endswith("\n")
        self._stream.write(start + text)
        return len(text)

    def _print(self, text: str) -> None:
        self._console.out(text, highlight=False)


def _overwritten(line: str) -> str:
    """What is to be seen of a line after its carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]
