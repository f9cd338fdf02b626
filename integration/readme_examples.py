"""The Python examples of a README, as the tests run them: one program from top to bottom."""

import os
import re
import subprocess
import sys
from pathlib import Path


def python_examples(readme: Path) -> list[str]:
    """Source of each fenced block that is marked ``python``, in order."""
    return re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)


def run_example(source: str, folder: str | Path) -> str:
    """Run an example in an interpreter of its own inside ``folder``; returns what it printed.

    Raises:
        AssertionError: if it fails, with the example and its error output.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", source],
        cwd=folder,
        env=os.environ | {"D2_DATASETS": str(Path(folder) / "datasets")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"this example failed:\n\n{source}\n{done.stderr}")
    return done.stdout
