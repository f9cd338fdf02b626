"""Step: the tests marked ``gpu`` of all packages.

Each file runs in a process of its own, several at a time: an illegal access spoils a process for
good. A dry run takes one process, which lets the CPU stand in, and leaves out what is slow there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from record import note

ROOT = Path(__file__).resolve().parents[2]
SLOW_ON_A_CPU = "not opcheck and not compiles and not mixed_precision_gives"


def files(root: Path = ROOT) -> list[Path]:
    """Test files with a test marked ``gpu``, the largest first."""
    found = [p for p in root.glob("packages/*/tests/test_*.py") if "mark.gpu" in p.read_text()]
    return sorted(found, key=lambda p: (-p.stat().st_size, p))


def run(paths: Sequence[Path], dry: bool) -> dict[str, Any]:
    """Run files in one process, and say how their tests fared."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
        command += ["--rootdir", str(ROOT), "-p", "no:cacheprovider", "-m", "gpu"]
        command += ["--junitxml", str(report), *(["-k", SLOW_ON_A_CPU] if dry else [])]
        begin = time.monotonic()
        done = subprocess.run(
            [*command, *map(str, paths)],
            cwd=ROOT,
            env={"OMP_NUM_THREADS": "2", **os.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        outcome = {
            "files": [str(p.relative_to(ROOT)) for p in paths],
            "status": done.returncode,
            "seconds": round(time.monotonic() - begin, 1),
            **counts(report),
        }
    if done.returncode not in (0, 5) and not outcome["failures"]:
        outcome["failures"] = [{"test": outcome["files"][0], "says": done.stdout[-2000:]}]
    summary = {key: outcome[key] for key in ("passed", "failed", "skipped")}
    print(f"== {', '.join(outcome['files'])}: {summary}")
    if done.returncode != 0:
        print(done.stdout[-20_000:])
    return outcome


def counts(report: Path) -> dict[str, Any]:
    """Numbers of tests and the messages of failed ones out of a JUnit report, if there is one."""
    found: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
    for case in cases:
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            found["failed"] += 1
            says = (bad[0].get("message") or "")[:500]
            found["failures"].append(
                {"test": f"{case.get('classname')}.{case.get('name')}", "says": says}
            )
        elif case.find("skipped") is not None:
            found["skipped"] += 1
        else:
            found["passed"] += 1
    return found


def processes() -> int:
    """How many fit: each wants two cores, and 16 GiB of the device at most."""
    import torch

    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    return max(1, min((os.cpu_count() or 2) // 2, memory // (16 << 30)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true")
    dry = parser.parse_args().dry
    groups = [files()] if dry else [[path] for path in files()]
    failed = 0
    with ThreadPoolExecutor(1 if dry else processes()) as pool:
        for done in as_completed([pool.submit(run, group, dry) for group in groups]):
            outcome = done.result()
            note("tests", **outcome)
            failed += outcome["status"] not in (0, 5)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
