"""Freed memory goes back to the system."""

import subprocess
import sys

import pytest

from d2_data.freed_memory import _malloc_trim

_PROGRAM = """
from pathlib import Path
from d2_data.freed_memory import return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [bytes(2000) for _ in range(50_000)]
kept = blocks[::500]
full = resident()
del blocks
return_freed_memory()
assert len(kept) == 100
assert full - resident() > 60e6, (full, resident())
"""


@pytest.mark.skipif(_malloc_trim() is None, reason="freed memory can be given back with glibc only")
def test_holes_between_what_is_still_used_are_given_back():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
