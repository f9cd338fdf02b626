"""Timing calls on a device, ours and the peer's in turn, and what the device copies at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from _paired import Paired

Call = Callable[[], object]
_SHORTEST_SAMPLE = 1e-3


def choose_device(dry: bool) -> torch.device:
    """The CUDA device, or the CPU that stands in for it."""
    return torch.device("cpu" if dry else "cuda")


def alternate(
    ours: Call,
    peer: Call | None,
    device: torch.device,
    *,
    rounds: int = 25,
    seconds: float = 0.3,
    warm: int = 2,
) -> Paired:
    """Median seconds of a call, measured by events on the device, both in turn.

    Args:
        ours: the call to measure.
        peer: the call to compare with, if there is one.
        device: where both work.
        rounds: at most so many; at least three of them are made.
        seconds: no further round begins after this time.
        warm: calls of each before the first that counts.

    Returns:
        Medians over the rounds. The first of a round is the second of the next; calls that are
        shorter than a millisecond are repeated within a round.
    """
    calls = [ours] if peer is None else [ours, peer]
    repeats = []
    for call in calls:
        for _ in range(warm):
            call()
        once = _seconds(call, 1, device)
        repeats.append(min(200, max(1, round(_SHORTEST_SAMPLE / max(once, 1e-9)))))
    samples: list[list[float]] = [[] for _ in calls]
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begin > seconds:
            break
        for i in range(len(calls)) if done % 2 == 0 else reversed(range(len(calls))):
            samples[i].append(_seconds(calls[i], repeats[i], device))
    medians = [statistics.median(times) for times in samples]
    if peer is None:
        return Paired(medians[0], None, None)
    return Paired(medians[0], medians[1], medians[1] / medians[0])


def _seconds(call: Call, repeats: int, device: torch.device) -> float:
    if device.type != "cuda":
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begin) / repeats
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3 / repeats


def warm_up(device: torch.device, seconds: float = 0.5) -> None:
    """Keep the device busy until its clocks are up."""
    side = 4096 if device.type == "cuda" else 64
    a = torch.randn(side, side, device=device)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        a = torch.tanh(a @ a)
        if device.type == "cuda":
            torch.cuda.synchronize()


def copy_rate(device: torch.device, count: int) -> float:
    """Bytes that a copy of ``count`` bytes reads and writes in a second."""
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / alternate(lambda: target.copy_(source), None, device).ours


def peak_bytes(call: Call, device: torch.device) -> int | None:
    """Memory that torch held at most during a call, on top of what it held before.

    Returns:
        None where it is not counted.
    """
    if device.type != "cuda":
        call()
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
