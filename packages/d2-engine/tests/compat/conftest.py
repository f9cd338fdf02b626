"""Installing and removing the compatibility import round a test, and running programs under it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d2_engine import compat

Run = Callable[..., str]


@pytest.fixture
def detectron2() -> Iterator[None]:
    """``detectron2`` is importable in a test, and no longer behind it."""
    compat.install()
    yield
    compat.uninstall()


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """Runs Python with arguments in a folder of its own and returns what it printed."""

    def run(*arguments: str, fails: bool = False) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
