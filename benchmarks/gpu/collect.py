"""Makes the results of a run out of its record, and prints their path.

    python collect.py RECORD FOLDER

Before the environment is noted there is nothing to make.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from record import read


def results(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """One document: the environment, the steps, the tests, the sanitizer's words, the figures."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        kept = {key: value for key, value in entry.items() if key != "kind"}
        by_kind.setdefault(entry["kind"], []).append(kept)
    environment: dict[str, Any] = {}
    for part in by_kind.get("environment", []):
        environment |= part
    tests = by_kind.get("tests", [])
    return {
        "environment": environment,
        "steps": by_kind.get("step", []),
        "tests": {
            **{key: sum(t[key] for t in tests) for key in ("passed", "failed", "skipped")},
            "failures": [failure for t in tests for failure in t["failures"]],
            "seconds": {", ".join(t["files"]): t["seconds"] for t in tests if len(t["files"]) == 1},
        },
        "sanitizer": by_kind.get("sanitizer", []),
        "figures": by_kind.get("figure", []),
    }


def file_name(environment: dict[str, Any]) -> str:
    """The file of a card, or of a dry run."""
    if environment.get("dry"):
        return "dry-run.json"
    card = environment.get("card", "unknown card")
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-") + ".json"


def main(arguments: list[str]) -> int:
    record, folder = map(Path, arguments)
    document = results(read(record))
    if document["environment"]:
        path = folder / file_name(document["environment"])
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(scratch, path)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
