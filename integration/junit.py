"""What pytest's JUnit reports add up to: ``nox -s summary`` prints it."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree


def counts(*reports: Path) -> dict[str, int]:
    """How many tests passed, failed and were skipped."""
    sums = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for report in reports:
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            sums = {key: n + int(suite.get(key, 0)) for key, n in sums.items()}
    failed = sums["failures"] + sums["errors"]
    passed = sums["tests"] - failed - sums["skipped"]
    return {"passed": passed, "failed": failed, "skipped": sums["skipped"]}


if __name__ == "__main__":
    print(", ".join(f"{n} {what}" for what, n in counts(*map(Path, sys.argv[1:])).items()))
