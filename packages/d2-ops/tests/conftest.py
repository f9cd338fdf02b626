"""What the tests of every operator share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Values that the original system produced."""
    beside_checkout = Path(__file__).resolve().parents[4] / "shared"
    shared = Path(os.environ.get("D2_SHARED", beside_checkout))
    path = shared / "golden" / "ops_layers_structures.pt"
    if not path.exists():
        pytest.skip(f"no reference values: {path} does not exist")
    values: dict[str, Any] = torch.load(path, weights_only=True)
    return values


@pytest.fixture
def bare_error() -> type[Exception]:
    """What torch makes of an argument that a kernel refuses, with no function of ours between."""
    major, minor = map(int, torch.__version__.split(".")[:2])
    return ValueError if (major, minor) < (2, 15) else RuntimeError


@pytest.fixture
def cuda() -> torch.device:
    """For what only a CUDA device does."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture
def device() -> torch.device:
    """For what a CUDA device does as the CPU does it.

    Under ``D2_GPU_STAND_IN=cpu`` the CPU stands in where there is none, so that these tests can
    be tried before a device is at hand.
    """
    if not torch.cuda.is_available() and os.environ.get("D2_GPU_STAND_IN") != "cpu":
        pytest.skip("no CUDA device")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def beyond_int32(device: torch.device) -> int:
    """More elements than 32 bits count, on a device with room for them; few on a stand-in."""
    if device.type == "cpu":
        return 1 << 13
    free, _ = torch.cuda.mem_get_info()
    if free < 40 << 30:
        pytest.skip(f"needs 40 GiB of free device memory, found {free / 2**30:.0f}")
    return (1 << 31) + (1 << 20)


@pytest.fixture
def allocated_bytes() -> Callable[[Callable[[], object]], int]:
    """A function that says how much torch allocates on the CPU while another one is called."""

    def measure(call: Callable[[], object]) -> int:
        profiler = torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
        )
        with profiler:
            call()
        return sum(max(event.self_cpu_memory_usage, 0) for event in profiler.events())

    return measure
