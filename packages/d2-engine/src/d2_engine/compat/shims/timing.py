"""A stopwatch and a small benchmark, as in fvcore."""

import statistics
import time
from collections.abc import Callable
from typing import Any


class Timer:
    """A stopwatch that can be paused; it runs when it is made."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew from zero."""
        self._start = time.perf_counter()
        self._paused: float | None = None
        self._total_paused = 0.0
        self._count_start = 1

    def pause(self) -> None:
        """Stop counting.

        Raises:
            ValueError: if it is paused already.
        """
        if self._paused is not None:
            raise ValueError("the timer is paused already")
        self._paused = time.perf_counter()

    def is_paused(self) -> bool:
        """Whether it is paused."""
        return self._paused is not None

    def resume(self) -> None:
        """Go on counting.

        Raises:
            ValueError: if it is not paused.
        """
        if self._paused is None:
            raise ValueError("the timer is not paused")
        self._total_paused += time.perf_counter() - self._paused
        self._paused = None
        self._count_start += 1

    def seconds(self) -> float:
        """Seconds since the start, pauses left out."""
        end = self._paused if self._paused is not None else time.perf_counter()
        return end - self._start - self._total_paused

    def avg_seconds(self) -> float:
        """Seconds for each start or resumption."""
        return self.seconds() / self._count_start


def timeit(num_iters: int = -1, warmup_iters: int = 0) -> Callable[..., Any]:
    """Decorate a function so that it is called repeatedly and returns its times.

    Args:
        num_iters: how often; negative for as often as a second lasts.
        warmup_iters: calls that are not counted.

    Returns:
        A dict with ``mean``, ``median``, ``min``, ``max`` and ``stddev`` in seconds, and
        ``iterations``.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., dict[str, float]]:
        def measured(*args: Any, **kwargs: Any) -> dict[str, float]:
            for _ in range(warmup_iters):
                function(*args, **kwargs)
            times: list[float] = []
            while len(times) < num_iters or (num_iters < 0 and (not times or sum(times) < 1)):
                start = time.perf_counter()
                function(*args, **kwargs)
                times.append(time.perf_counter() - start)
            return {
                "iterations": len(times),
                "mean": statistics.fmean(times),
                "median": statistics.median(times),
                "min": min(times),
                "max": max(times),
                "stddev": statistics.pstdev(times),
            }

        return measured

    return decorate


def benchmark(
    func: Callable[..., Callable[[], Any]],
    bm_name: str,
    kwargs_list: list[dict[str, Any]],
    *,
    num_iters: int = -1,
    warmup_iters: int = 0,
) -> None:
    """Print the times of a function made with different arguments.

    Args:
        func: from arguments to the function that is timed.
        bm_name: put before each line.
        kwargs_list: arguments of each.
        num_iters: see :func:`timeit`.
        warmup_iters: see :func:`timeit`.
    """
    for kwargs in kwargs_list:
        times = timeit(num_iters, warmup_iters)(func(**kwargs))()
        print(
            f"{bm_name} {kwargs}: mean {times['mean'] * 1e3:.3f} ms, "
            f"min {times['min'] * 1e3:.3f} ms, {times['iterations']} calls"
        )
