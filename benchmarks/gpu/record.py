"""The record of one run: a line of JSON for each thing noted, so that a killed step keeps its past.

``D2_GPU_RECORD`` names the file. Lines have a ``kind``: ``environment``, ``step``, ``tests``,
``sanitizer`` or ``figure``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def note(kind: str, **values: Any) -> None:
    """Append a line to the record; without one, print it."""
    line = json.dumps({"kind": kind, **values})
    path = os.environ.get("D2_GPU_RECORD")
    if path is None:
        print(line)
        return
    with open(path, "a") as file:
        file.write(line + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Everything noted; a line that was cut off while it was written is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
