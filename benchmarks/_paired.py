"""Timing us beside a peer, so that what the machine does meanwhile hits both alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"


class Paired(NamedTuple):
    """Median seconds per call, and how many times slower the peer is."""

    ours: float
    peer: float | None
    ratio: float | None


def measure_pairs(
    ours: Callable[[], object],
    peer: Callable[[], object] | None = None,
    *,
    rounds: int = 15,
    seconds: float = 2.0,
    synchronize: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Paired:
    """Call both in turn, the first of a round being the second of the next.

    Args:
        ours: the call to measure.
        peer: the call to compare with; None measures ours alone.
        rounds: at most so many; at least three are made.
        seconds: no further round begins after this time.
        synchronize: waits for work that a call started, for instance ``torch.cuda.synchronize``.
        clock: reads the time in seconds. ``time.process_time`` suits calls on one thread each: what
            else the machine does then hardly matters.

    Returns:
        Medians over the rounds. A call shorter than a millisecond is repeated within a round.
    """
    calls = [call for call in (ours, peer) if call is not None]
    once = [_time(call, 1, synchronize, clock) for call in calls]
    repeats = [max(1, round(1e-3 / max(seconds_once, 1e-9))) for seconds_once in once]
    times: list[list[float]] = [[] for _ in calls]
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begin > seconds:
            break
        for i in range(len(calls)) if done % 2 == 0 else reversed(range(len(calls))):
            times[i].append(_time(calls[i], repeats[i], synchronize, clock))
    medians = [statistics.median(samples) for samples in times]
    if peer is None:
        return Paired(medians[0], None, None)
    return Paired(medians[0], medians[1], medians[1] / medians[0])


def _time(
    call: Callable[[], object],
    repeats: int,
    synchronize: Callable[[], object] | None,
    clock: Callable[[], float],
) -> float:
    call()  # warm: caches, allocator, lazy initialisation
    if synchronize is not None:
        synchronize()
    begin = clock()
    for _ in range(repeats):
        call()
    if synchronize is not None:
        synchronize()
    return (clock() - begin) / repeats


def memory_mib(field: str = "VmHWM") -> float:
    """Mebibytes of this process as Linux counts them, by default the most that it ever had.

    Unlike ``ru_maxrss`` that does not begin with what the process had that started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def environment(packages: Iterable[str] = ("numpy", "torch", "torchvision")) -> dict[str, object]:
    """Where and with what a benchmark ran."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def report(topic: str, rows: Mapping[str, Paired], peer: str, **settings: object) -> None:
    """Print a table and write it with the environment to ``results/<topic>.json``."""
    width = max(map(len, rows))
    print(f"{topic:<{width}}  {'ours':>10}  {peer:>14}  {'ratio':>6}")
    for name, row in rows.items():
        beside = "—" if row.peer is None else _readable(row.peer)
        ratio = "—" if row.ratio is None else f"{row.ratio:.1f}x"
        print(f"{name:<{width}}  {_readable(row.ours):>10}  {beside:>14}  {ratio:>6}")
    record = {
        "topic": topic,
        "peer": peer,
        "unit": "seconds, median",
        **settings,
        "environment": environment(),
        "rows": {name: row._asdict() for name, row in rows.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=RESULTS, suffix=".tmp", delete=False) as file:
        json.dump(record, file, indent=2)
        file.write("\n")
    os.replace(file.name, RESULTS / f"{topic}.json")


def _readable(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"
