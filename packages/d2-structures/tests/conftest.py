"""Reference values of the original system, and how long hypothesis may look."""

import os
import pathlib
from typing import Any

import pytest
import torch
from hypothesis import settings

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).parents[3].parent / "shared")
)

settings.register_profile("d2-structures", max_examples=30, deadline=None)
settings.load_profile("d2-structures")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    path = SHARED / "golden" / "ops_layers_structures.pt"
    if not path.exists():
        pytest.skip(f"reference values not found at {path}; set D2_SHARED")
    values: dict[str, Any] = torch.load(path, weights_only=True)
    return values


@pytest.fixture
def device() -> torch.device:
    """A CUDA device; under ``D2_GPU_STAND_IN=cpu`` the CPU stands in where there is none."""
    if not torch.cuda.is_available() and os.environ.get("D2_GPU_STAND_IN") != "cpu":
        pytest.skip("no CUDA device")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
