"""Tests of d2-ops and d2-structures on ARM64, emulated: ``nox -s arm64`` calls this.

Debian's arm64 Python is unpacked into a folder, torch's aarch64 wheel beside it, and QEMU runs
both; nothing of it needs a processor of that kind. What is missing is said and nothing is run.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from dist import record
from dist.platforms import TORCH_FLOOR
from pythons import wheels

ROOT = Path(__file__).parents[1]
RELEASES = {"3.11": "bookworm", "3.13": "trixie"}  # of Debian, by their Python
TESTED = ("d2-ops", "d2-structures")
QEMU = "qemu-aarch64-static"
PROCESSOR = "neoverse-n1"  # NEON and no more: emulated longer vectors are slow
DEBIAN = "python3,libgomp1"
MEMORY = 8 << 30
WHERE = "and d2-structures', emulated, few examples; CPython {}, torch {}"
# torch without what only CUDA builds need: pip would choose by this machine, not by the target.
WHEELS = (
    *(f"torch=={TORCH_FLOOR}", "numpy>=1.26", "pytest>=8", "hypothesis>=6.100", "pycocotools"),
    *("pillow", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "MarkupSafe"),
    *("fsspec", "filelock", "pluggy", "iniconfig", "packaging", "sortedcontainers", "attrs"),
    "pygments",
)


def missing() -> list[str]:
    """What has to be installed first, one sentence each."""
    return [
        f"{program} is not installed: apt-get install {package}"
        for program, package in ((QEMU, "qemu-user-static"), ("debootstrap", "debootstrap"))
        if shutil.which(program) is None
    ]


def system(folder: Path, release: str) -> Path:
    """Debian's arm64 Python and its libraries, unpacked once and not installed."""
    root = folder / "rootfs"
    if not (folder / "unpacked").exists():
        shutil.rmtree(root, ignore_errors=True)
        options = ("--arch=arm64", "--variant=minbase", "--foreign", f"--include={DEBIAN}")
        subprocess.run(["debootstrap", *options, release, str(root)], check=True)
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
        (folder / "unpacked").touch()
    return root


def interpreter(folder: Path, root: Path, version: str) -> Path:
    """A program that is Python there, for tests that start ``sys.executable`` too.

    QEMU is named in it, so that the kernel need not know whom to hand ARM64 programs to.
    """
    program = folder / f"python{version}"
    binary = root / "usr/bin" / program.name
    words = shlex.join([QEMU, "-cpu", PROCESSOR, "-L", str(root), "-0", str(program), str(binary)])
    # What is emulated is given any memory that it asks for, and tests ask for more than there is.
    limit = f"ulimit -d {MEMORY >> 10}"
    home = f"PYTHONHOME={shlex.quote(str(root / 'usr'))}"
    program.write_text(f'#!/bin/sh\n{limit}\n{home} exec {words} "$@"\n')
    program.chmod(0o755)
    return program


def site_packages(folder: Path, version: str, d2_wheels: list[Path]) -> Path:
    """torch, the tools of the tests and the wheels under test, for ARM64."""
    site = folder / "site"
    tags = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    pip = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--upgrade"),
        *("--no-deps", "--target", str(site), "--only-binary=:all:", "--python-version", version),
        *(word for tag in tags for word in ("--platform", f"{tag}_aarch64")),
    ]
    if not (site / "torch").is_dir():
        subprocess.run([*pip, *WHEELS], check=True)
    subprocess.run([*pip, "--force-reinstall", *map(str, d2_wheels)], check=True)
    return site


def selected(chosen: list[str]) -> list[str]:
    """What pytest is given: files and options as they came, and both suites if no file is named."""
    if any((ROOT / word.split("::")[0]).exists() for word in chosen):
        return chosen
    return [*chosen, *(str(ROOT / "packages" / name / "tests") for name in TESTED)]


def _folder(text: str) -> Path:
    return Path(text).resolve()  # tests start Python from other folders, too


def main() -> int:
    """Run the tests; 1 if one fails, 0 and a reason where ARM64 cannot be had."""
    parser = argparse.ArgumentParser(prog="arm64")
    parser.add_argument("--work", type=_folder, required=True, help="where the system is unpacked")
    parser.add_argument("--index", type=_folder, required=True, help="what nox -s dist made")
    parser.add_argument("--python", choices=RELEASES, default="3.11", help="which is emulated")
    options, chosen = parser.parse_known_args()  # the rest is pytest's
    if reasons := missing():
        print("ARM64 was not run:", *reasons, sep="\n- ")
        return 0
    version, folder = options.python, options.work / options.python
    try:
        found = wheels(options.index, version, "aarch64")
    except FileNotFoundError as error:
        parser.error(f"{error} -- --platform aarch64")
    tested = [wheel for wheel in found if wheel.name.split("-")[0].replace("_", "-") in TESTED]
    folder.mkdir(parents=True, exist_ok=True)
    root = system(folder, RELEASES[version])
    site = site_packages(folder, version, tested)
    python = interpreter(folder, root, version)
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "emulated"]
    command += ["--durations=20", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    command += [f"--junitxml={report}", *selected(chosen)]
    paths = os.pathsep.join(map(str, (site, Path(__file__).parent)))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CI": "1"}
    done = subprocess.run(command, env=environment, check=False)
    if not chosen and report.exists():
        with record.changed() as noted:
            record.ran(noted, tested[-1], [report], WHERE.format(version, TORCH_FLOOR))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
