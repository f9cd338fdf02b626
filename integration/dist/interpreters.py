"""Pythons of other versions, and environments made of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def interpreter(version: str) -> str | None:
    """Find a Python, on PATH or where pyenv and uv put theirs.

    Args:
        version: such as ``3.12``; ``3.13t`` is the build without the global lock.

    Returns:
        Its path, or None.
    """
    candidates = [shutil.which(f"python{version}")]
    number = version.removesuffix("t")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    candidates += sorted(map(str, pyenv.glob(f"{number}.*/bin/python")), reverse=True)
    candidates += sorted(map(str, uv.glob(f"cpython-{number}.*/bin/python3")), reverse=True)
    return next((c for c in filter(None, candidates) if _version(c) == version), None)


def _version(python: str) -> str:
    """What it says of itself: a shim of pyenv may stand for no version."""
    code = (
        "import sys, sysconfig; version = '%d.%d' % sys.version_info[:2]; "
        "print(version + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def environment(python: str, folder: Path, requirements: Iterable[str]) -> str:
    """The Python of a virtual environment, made where it is not there, with these installed.

    A wheel is installed even if its version is there: a rebuilt one keeps its version.

    Raises:
        CalledProcessError: with what pip says, which is printed, too.
    """
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pip = (str(inside), "-m", "pip", "--disable-pip-version-check", "install", "-q")
    wanted = list(requirements)
    done = subprocess.run([*pip, *wanted], stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    done.check_returncode()
    if files := [one for one in wanted if one.endswith(".whl")]:
        subprocess.run([*pip, "--no-deps", "--force-reinstall", *files], check=True)
    return str(inside)
