"""The recent values of one scalar, with the iteration at which each was recorded."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from itertools import islice


class HistoryBuffer:
    """Keep a bounded history of a scalar series and summarise its latest part.

    Args:
        max_length: number of values kept; older ones are dropped but still count in
            `global_avg`.
    """

    def __init__(self, max_length: int = 1_000_000) -> None:
        self._entries: deque[tuple[float, float]] = deque(maxlen=max_length)
        self._count = 0
        self._total = 0.0

    def update(self, value: float, iteration: float | None = None) -> None:
        """Append ``value``; without ``iteration`` values are numbered from 0."""
        self._entries.append((value, self._count if iteration is None else iteration))
        self._count += 1
        self._total += value

    def latest(self) -> float:
        """The newest value."""
        return self._entries[-1][0]

    def values(self) -> list[tuple[float, float]]:
        """The kept ``(value, iteration)`` pairs, oldest first."""
        return list(self._entries)

    def median(self, window_size: int) -> float:
        """Median of the newest ``window_size`` values."""
        return statistics.median(self._newest(window_size))

    def avg(self, window_size: int) -> float:
        """Mean of the newest ``window_size`` values."""
        return statistics.fmean(self._newest(window_size))

    def global_avg(self) -> float:
        """Mean of every value ever recorded."""
        return self._total / self._count

    def count_since(self, iteration: float) -> int:
        """Number of kept values recorded after ``iteration``."""
        count = 0
        for _, recorded_at in reversed(self._entries):
            if recorded_at <= iteration:
                break
            count += 1
        return count

    def newest(self, count: int) -> list[tuple[float, float]]:
        """The newest ``count`` pairs of value and iteration, oldest first."""
        return list(islice(reversed(self._entries), count))[::-1]

    def sums(self) -> tuple[int, float]:
        """Number and sum of every value ever recorded."""
        return self._count, self._total

    def restore(self, entries: Sequence[tuple[float, float]], count: int, total: float) -> None:
        """Take the place of a buffer of which :meth:`newest` and :meth:`sums` are given."""
        self._entries.clear()
        self._entries.extend(entries)
        self._count, self._total = count, total

    def _newest(self, window_size: int) -> list[float]:
        return [value for value, _ in islice(reversed(self._entries), window_size)]
