"""Progress bars of loops, and of whatever else counts."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from types import TracebackType
from typing import Self, TypeVar

from d2_config.logger import FILE_ONLY
from d2_eval.live.display import LiveLine
from d2_eval.live.layout import Fact, LineContent
from d2_structures.comm import is_main_process

_logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOGS = 5

T = TypeVar("T")


class ProgressBar:
    """A line in the terminal with a bar, a count, the speed and the remaining time.

    It is shown inside a ``with`` block, on the main process only, and disappears at its end.

    Args:
        description: what is counted, e.g. ``"evaluate"``.
        total: where counting ends; None if that is not known.
        unit: what one of them is, for the speed.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        *,
        unit: str = "it",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.description = description
        self.total = total
        self.done = 0
        self.facts: Sequence[Fact] = ()
        """Shown behind the others; may be set at any time."""
        self._unit = unit
        self._clock = clock
        self._started = self._advanced = clock()
        self._line = LiveLine(self.content)

    @property
    def visible(self) -> bool:
        """Whether it can be seen: in a terminal, inside the block."""
        return self._line.visible

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more."""
        self.done += count
        self._advanced = self._clock()

    def seconds_each(self) -> float | None:
        """The mean time per item so far; None before the first."""
        return (self._advanced - self._started) / self.done if self.done else None

    def remaining(self) -> str | None:
        """The time to the end as ``h:mm:ss``; None if it cannot be known."""
        each = self.seconds_each()
        if each is None or self.total is None:
            return None
        seconds = each * (self.total - self.done) - (self._clock() - self._advanced)
        return _shown(max(seconds, 0.0))

    def content(self) -> LineContent:
        """What the line says now."""
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        facts = [Fact(count)]
        remaining = self.remaining()
        if remaining is None:
            facts.append(Fact(_shown(self._clock() - self._started), style="cyan"))
        else:
            facts.append(Fact(f"eta {remaining}", style="cyan"))
        if speed := self._speed():
            facts.append(Fact(speed, rank=1))
        fraction = self.done / self.total if self.total else None
        return LineContent(self.description, fraction, [*facts, *self.facts])

    def _speed(self) -> str | None:
        each = self.seconds_each()
        if not each:
            return None
        return f"{1 / each:.1f} {self._unit}/s" if each < 1 else f"{each:.1f} s/{self._unit}"

    def __enter__(self) -> Self:
        self._started = self._advanced = self._clock()
        if is_main_process():
            self._line.show()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._line.hide()


def progress(
    iterable: Iterable[T],
    total: int | None = None,
    description: str = "progress",
    *,
    unit: str = "it",
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[T]:
    """Go through an iterable and show how far it is.

    In a terminal a bar is shown until the loop ends, if rich is installed
    (``pip install 'd2-eval[progress]'``); a line every five seconds goes to the log, and is
    printed where there is no bar. Only the main process shows and logs anything.

    Args:
        iterable: what to go through.
        total: number of its items; by default its length, if it has one.
        description: what is being done, e.g. ``"predict"``.
        unit: what one item is, e.g. ``"image"``.
        clock: seconds that only grow.

    Yields:
        The items of ``iterable``.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with ProgressBar(description, total, unit=unit, clock=clock) as bar:
        last_logged = clock()
        for item in iterable:
            yield item
            bar.advance()
            now = clock()
            if now - last_logged >= _SECONDS_BETWEEN_LOGS and is_main_process():
                last_logged = now
                extra = FILE_ONLY if bar.visible else None
                content = bar.content()
                facts = "  ".join(fact.text for fact in content.facts)
                _logger.info("%s: %s", description, facts, extra=extra)


def _shown(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
