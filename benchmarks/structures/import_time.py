"""Time ``import d2_structures`` beyond ``import torch``, in one new process after the other."""

import json
import statistics
import subprocess
import sys

from _paired import Paired, report

CHILD = """
import json, time
begin = time.perf_counter()
import torch
between = time.perf_counter()
import d2_structures
print(json.dumps([between - begin, time.perf_counter() - between]))
"""
ROUNDS = 7


def main() -> None:
    outputs = [subprocess.check_output([sys.executable, "-c", CHILD]) for _ in range(ROUNDS)]
    torch_seconds, ours = (
        statistics.median(times) for times in zip(*map(json.loads, outputs), strict=True)
    )
    row = Paired(ours, torch_seconds, torch_seconds / ours)
    report("structures-import", {"import d2_structures after torch": row}, "import torch")


if __name__ == "__main__":
    main()
