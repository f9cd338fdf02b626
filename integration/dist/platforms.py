"""The platforms that d2-ops is built for here, and the torch that each is built against."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

TORCH_FLOOR = "2.10.0"
MANYLINUX = "manylinux_2_28"
LIBRARIES = (".so", ".dylib", ".pyd")  # what compiled files end with


class Platform(NamedTuple):
    """A target of ``zig c++``, and how pip and CMake call it."""

    zig: str
    tag: str  # of torch's wheel; on macOS also of ours
    system: str
    processor: str
    soabi: str  # the end of a module's name, after cpython-311


PLATFORMS = {
    "x86_64": Platform(
        *("x86_64-linux-gnu.2.17", f"{MANYLINUX}_x86_64"),
        *("Linux", "x86_64", "x86_64-linux-gnu"),
    ),
    "aarch64": Platform(
        *("aarch64-linux-gnu.2.17", f"{MANYLINUX}_aarch64"),
        *("Linux", "aarch64", "aarch64-linux-gnu"),
    ),
    "macos": Platform(
        *("aarch64-macos.11.0", "macosx_11_0_arm64"),
        *("Darwin", "arm64", "darwin"),
    ),
}


def torch_folder(name: str, downloads: Path) -> Path:
    """Headers and libraries of the oldest torch for a platform, downloaded once.

    Args:
        name: a key of ``PLATFORMS``.
        downloads: where wheels and what is taken out of them lie.

    Returns:
        The folder called ``torch`` of the unpacked wheel.
    """
    platform = PLATFORMS[name]
    folder = downloads / f"{name}-{TORCH_FLOOR}"
    if not (folder / "complete").exists():
        pattern = f"torch-{TORCH_FLOOR}*-{platform.tag}.whl"
        if not list(downloads.glob(pattern)):
            _download(platform, downloads)
        (wheel,) = downloads.glob(pattern)
        with zipfile.ZipFile(wheel) as archive:
            parts = ("torch/include/", "torch/lib/", "torch/version.py")
            archive.extractall(folder, [n for n in archive.namelist() if n.startswith(parts)])
        (folder / "complete").touch()
    return folder / "torch"


def _download(platform: Platform, downloads: Path) -> None:
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"),
            *("--platform", platform.tag, "--python-version", "3.11"),
            *("--only-binary=:all:", "--no-deps", "--dest", str(downloads)),
            f"torch=={TORCH_FLOOR}",
        ],
        check=True,
    )
