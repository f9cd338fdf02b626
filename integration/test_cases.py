"""Cases from public bug reports of other detection software, each with a program that judges."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CASES = Path(os.environ.get("D2_SHARED", ROOT.parent / "shared")) / "cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/try.py"))


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_case_is_judged_right(name):
    if not NAMES:
        pytest.skip("the cases were not found; point D2_SHARED at the folder that holds them")
    # Each registers names and changes logging: it needs a process of its own.
    done = subprocess.run(
        [sys.executable, str(CASES / name / "try.py")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
