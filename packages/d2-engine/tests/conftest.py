"""Builders that several test modules share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference values and real data; tests that need it skip where it is absent."""
    repository = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("D2_SHARED", repository.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} does not exist (set D2_SHARED)")
    return folder
