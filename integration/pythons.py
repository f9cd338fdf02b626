"""The suites of all packages on other Pythons and torches: ``nox -s pythons`` calls this.

What is installed is what ``nox -s dist`` made: the six pure wheels, and of d2-ops' the one whose
tag the Python takes, so that 3.12 and all later ones are met by the same file. Beside the record of
suites, that of wheels is told what came of d2-ops' tests.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dist import record
from dist.interpreters import environment, interpreter
from junit import counts

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("pythons.json")
CURRENT = ("3.11", "3.12", "3.13", "3.14", "3.15")
PACKAGES = ("config", "ops", "structures", "data", "modeling", "eval", "engine")

Record = dict[str, dict[str, dict[str, Any]]]


def wheels(index: Path, version: str, processor: str | None = None) -> list[Path]:
    """The files of an index that a Python of this version installs on Linux.

    Args:
        index: the folder.
        version: of Python, such as 3.12.
        processor: as its wheels are tagged; by default this machine's.

    Returns:
        Those of the packages, d2-ops' last.

    Raises:
        FileNotFoundError: if one is not there: ``nox -s dist`` makes them.
    """
    own = f"cp{version.replace('.', '')}" if version == "3.11" else "cp312-abi3"
    patterns = [f"d2_{name}-*-none-any.whl" for name in PACKAGES if name != "ops"]
    patterns.append(f"d2_ops-*-{own}-*_{processor or platform.machine()}.whl")
    found = []
    for pattern in patterns:
        files = sorted(index.glob(pattern))
        if not files:
            raise FileNotFoundError(f"no {pattern} is in {index}: make it by nox -s dist")
        found.append(files[-1])
    return found


def proven(record: Record, package: str) -> list[str]:
    """The versions of Python on which a package's suite has run without a failure, oldest first."""
    runs = {version: told.get(package, {}) for version, told in record.items()}
    held = [
        version
        for version, told in runs.items()
        if told and all(run["failed"] == 0 and run["passed"] > 0 for run in told.values())
    ]
    return sorted(held, key=lambda version: [int(part) for part in version.split(".")])


def suite(
    python: str, package: str, report: Path, processes: int, root: Path = ROOT
) -> dict[str, int]:
    """Run the suite of a package; what came of it.

    Args:
        python: where everything is installed.
        package: its name without ``d2-``.
        report: the file that pytest writes.
        processes: how many run tests at once.
        root: of the repository.

    Returns:
        Its counts; a suite that gave no report has failed once.
    """
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "-c", str(root / "pyproject.toml")]
    command += ["-p", "no:cacheprovider", "--rootdir", str(root), f"--junitxml={report}"]
    command += ["-n", str(processes), "--dist", "loadfile"]
    tests = str(root / "packages" / f"d2-{package}" / "tests")
    threads = os.environ | {"CI": "1", "OMP_NUM_THREADS": "1"}
    # Processes that tests start import them from here.
    subprocess.run([*command, tests], cwd=root, env=threads, check=False)
    return counts(report) if report.exists() else {"passed": 0, "failed": 1, "skipped": 0}


def _prepared(base: str, folder: Path, torch: str, needed: list[str]) -> str | None:
    """The Python of an environment with all of it; None if there is no such torch for this one."""
    try:
        environment(base, folder, shlex.split(torch))
    except subprocess.CalledProcessError as error:
        if "No matching distribution" not in error.stderr:
            raise
        shutil.rmtree(folder)
        return None
    return environment(base, folder, needed)


def _versions(python: str) -> tuple[str, str]:
    code = "import platform, torch; print(platform.python_version(), torch.__version__)"
    first, second = subprocess.check_output([python, "-c", code], text=True).split()
    return first, second


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pythons")
    parser.add_argument("--work", type=Path, required=True, help="where environments are made")
    parser.add_argument("--index", type=Path, required=True, help="what nox -s dist made")
    parser.add_argument("--torch", action="append", default=[], help="NAME=what pip installs")
    parser.add_argument("--tool", action="append", default=[], help="what tests need beside")
    parser.add_argument("--python", action="append", help="a version; all current ones without it")
    parser.add_argument("--only", action="append", help="the NAME of one torch")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once")
    parser.add_argument("packages", nargs="*", help="such as d2-ops; all without it")
    return parser.parse_args()


def _told(
    python: str,
    key: tuple[str, str],
    package: str,
    folder: Path,
    ops_wheel: Path,
    processes: int,
) -> tuple[str, int]:
    """Run a suite and record it under a Python and a torch: a row, and how many tests failed."""
    version, name = key
    report = folder / f"{package}.xml"
    told = suite(python, package, report, processes)
    full, torch = _versions(python)
    where = f"CPython {full}, torch {torch}"
    with record.kept(RECORD) as noted:
        by_torch = noted.setdefault(version, {}).setdefault(package, {})
        by_torch[name] = {"python": full, "torch": torch, **told}
    row = f"{where}, d2-{package}: {told}"
    if package == "ops" and report.exists():
        try:
            with record.changed() as noted:
                record.ran(noted, ops_wheel, [report], where)
        except ValueError as error:  # no reason to lose the other suites
            row += f"; not in README's table of platforms: {error}"
    return row, told["failed"]


def main() -> int:
    """Run, record and print; 1 if a test failed, or none was run."""
    options = _arguments()
    packages = [name.removeprefix("d2-") for name in options.packages] or list(PACKAGES)
    rows, ran, failed = [], 0, 0
    for version in options.python or CURRENT:
        if version.endswith("t"):
            rows.append(f"{version}: our wheels are for Pythons with the global lock")
            continue
        base = interpreter(version)
        if base is None:
            rows.append(f"{version}: no such Python was found")
            continue
        for name, requirement in (torch.split("=", 1) for torch in options.torch):
            if options.only and name not in options.only:
                continue
            folder = options.work / f"{version}-{name}"
            files = wheels(options.index, version)
            needed = [*options.tool, *map(str, files)]
            python = _prepared(base, folder, requirement, needed)
            if python is None:
                rows.append(f"{version}: there is no {requirement} for it")
                continue
            for package in packages:
                row, number = _told(
                    python, (version, name), package, folder, files[-1], options.processes
                )
                rows.append(row)
                ran += 1
                failed += number
            shutil.rmtree(folder)  # gigabytes, where torch brings CUDA
    print(*rows, sep="\n")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
