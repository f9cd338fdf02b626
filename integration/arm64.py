"""Tests of d2-ops and d2-structures on ARM64, emulated: ``nox -s arm64`` calls this.

Debian's arm64 Python is unpacked into a folder, torch's aarch64 wheel beside it, and QEMU runs
both; nothing of it needs a processor of that kind. What is missing is said and nothing is run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dist.platforms import TORCH_FLOOR

ROOT = Path(__file__).parents[1]
RELEASE = "bookworm"  # its Python is 3.11
QEMU = "qemu-aarch64-static"
DEBIAN = "python3,libgomp1"
# torch without what only CUDA builds need: pip would choose by this machine, not by the target.
WHEELS = (
    *(f"torch=={TORCH_FLOOR}", "numpy>=1.26", "pytest>=8", "hypothesis>=6.100", "pycocotools"),
    *("pillow", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "MarkupSafe"),
    *("fsspec", "filelock", "pluggy", "iniconfig", "packaging", "sortedcontainers", "attrs"),
    "pygments",
)


def missing() -> list[str]:
    """What has to be installed first, one sentence each."""
    found = [
        f"{program} is not installed: apt-get install {package}"
        for program, package in ((QEMU, "qemu-user-static"), ("debootstrap", "debootstrap"))
        if shutil.which(program) is None
    ]
    if not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        found.append(
            "the kernel does not hand ARM64 programs to QEMU: mount -t binfmt_misc none "
            "/proc/sys/fs/binfmt_misc && update-binfmts --enable qemu-aarch64"
        )
    return found


def system(folder: Path) -> Path:
    """Debian's arm64 Python and its libraries, unpacked once and not installed."""
    root = folder / "rootfs"
    if not (folder / "unpacked").exists():
        shutil.rmtree(root, ignore_errors=True)
        options = ("--arch=arm64", "--variant=minbase", "--foreign", f"--include={DEBIAN}")
        subprocess.run(["debootstrap", *options, RELEASE, str(root)], check=True)
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
        (folder / "unpacked").touch()
    return root


def site_packages(folder: Path, d2_wheels: list[str]) -> Path:
    """torch, the tools of the tests and the wheels under test, for ARM64."""
    site = folder / "site"
    tags = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    pip = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--upgrade"),
        *("--no-deps", "--target", str(site), "--only-binary=:all:", "--python-version", "3.11"),
        *(word for tag in tags for word in ("--platform", f"{tag}_aarch64")),
    ]
    if not (site / "torch").is_dir():
        subprocess.run([*pip, *WHEELS], check=True)
    subprocess.run([*pip, "--force-reinstall", *d2_wheels], check=True)
    return site


def main() -> int:
    """Run the tests; 1 if one fails, 0 and a reason where ARM64 cannot be had."""
    parser = argparse.ArgumentParser(prog="arm64")
    parser.add_argument("--work", type=Path, required=True, help="where the system is unpacked")
    parser.add_argument("--wheel", action="append", required=True, help="under test")
    parser.add_argument("tests", nargs="*", help="files, and options of pytest")
    options, rest = parser.parse_known_args()
    if reasons := missing():
        print("ARM64 was not run:", *reasons, sep="\n- ")
        return 0
    options.work.mkdir(parents=True, exist_ok=True)
    root = system(options.work)
    site = site_packages(options.work, options.wheel)
    default = [str(ROOT / "packages" / f"d2-{name}" / "tests") for name in ("ops", "structures")]
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "QEMU_LD_PREFIX": str(root),
        "OMP_NUM_THREADS": "1",
        "CI": "1",
    }
    command = [str(root / "usr/bin/python3.11"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    done = subprocess.run(
        [*command, *(options.tests or default), *rest], env=environment, check=False
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
