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
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


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
