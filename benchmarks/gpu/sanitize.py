"""Step: compute-sanitizer's memcheck and racecheck on our kernels.

A dry run makes the same calls without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from record import note

CALLS = Path(__file__).parent / "sanitized_calls.py"
TOOLS = ("memcheck", "racecheck")
# Of each tool; they run at the same time.
SECONDS = 42
FOUND = 99


def command(tool: str, sanitizer: str) -> list[str]:
    """The command line that checks our kernels and leaves those of torch alone."""
    options = ["--tool", tool, "--kernel-name", "kns=d2_ops", "--error-exitcode", str(FOUND)]
    return [sanitizer, *options, "--print-limit", "20", sys.executable, str(CALLS)]


def check(tool: str, sanitizer: str) -> int:
    """Run one tool and note what it says."""
    # Inside torch's large blocks, an access out of bounds would be one to a neighbour.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            command(tool, sanitizer),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        status, output = 124, (error.stdout or b"").decode(errors="replace")
    print(output)
    summary = [line for line in output.splitlines() if "SUMMARY" in line]
    note("sanitizer", tool=tool, status=status, says=summary[-1:] or output.splitlines()[-1:])
    return status


def main(arguments: list[str]) -> int:
    if "--dry" in arguments:
        return subprocess.run([sys.executable, str(CALLS), "--dry"]).returncode
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(sanitizer).exists():
        print("compute-sanitizer is not on this machine")
        note("sanitizer", tool="none", status=1, says=["not on this machine"])
        return 1
    with ThreadPoolExecutor(len(TOOLS)) as pool:
        statuses = list(pool.map(lambda tool: check(tool, sanitizer), TOOLS))
    return 1 if any(statuses) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
