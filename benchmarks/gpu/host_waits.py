"""How often the host waits for the device during a call, read off torch's profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

_MARK = "what is counted"
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def host_waits(call: Callable[[], object], device: torch.device) -> dict[str, int]:
    """Profile one call.

    Returns:
        ``waits``: calls of the CUDA runtime that return only when the device is done;
        ``copies_to_host``: copies from the device, each of which waits unless its target is
        page-locked; ``kernels``: launches.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    with profile(activities=activities, acc_events=True) as profiler:
        with record_function(_MARK):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return tally(profiler.events())


def tally(events: Iterable[Any]) -> dict[str, int]:
    """Count what the host began while the mark was open; the profiler itself waits after it."""
    events = list(events)
    host = [e for e in events if e.device_type == DeviceType.CPU]
    mark = next(e.time_range for e in host if e.name == _MARK)
    within = [e.name for e in host if mark.start <= e.time_range.start <= mark.end]
    return {
        "waits": sum(name in _WAITS for name in within),
        # These run on the device, maybe after the host has gone on.
        "copies_to_host": sum(e.name.startswith("Memcpy DtoH") for e in events),
        "kernels": sum(name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for name in within),
    }
