"""Time ``import d2_structures`` beyond ``import torch``, each in a process of its own."""

import subprocess
import sys

from _paired import measure_pairs, report


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def main() -> None:
    row = measure_pairs(
        lambda: run("import torch, d2_structures"), lambda: run("import torch"), seconds=60
    )
    assert row.peer is not None
    report(
        "structures-import",
        {"import torch, d2_structures": row},
        "import torch",
        beyond_torch=round(row.ours - row.peer, 3),
    )
    print(f"beyond torch: {(row.ours - row.peer) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
