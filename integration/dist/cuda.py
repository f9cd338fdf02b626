"""CUDA sources compiled by several releases of nvcc, and README's table: ``nox -s nvcc``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dist import record
from dist.syntax import DEFINITIONS

ROOT = Path(__file__).parents[2]
OPS = ROOT / "packages" / "d2-ops"
RECORD = Path(__file__).with_name("cuda.json")
BEGIN = "<!-- compilers: written by nox -s nvcc -->\n"
END = "<!-- end of compilers -->\n"
ARCHITECTURE = "sm_80"  # every release since 11 knows it
FLAGS = ("-std=c++17", "-c", f"-arch={ARCHITECTURE}", "--fmad=false", "-Xcompiler=-fPIC")

Record = dict[str, dict[str, Any]]


def release(nvcc: str) -> str:
    """The version that a compiler tells of itself, such as 12.4.131."""
    told = subprocess.check_output([nvcc, "--version"], text=True)
    found = re.search(r"\bV(\d+\.\d+\.\d+)", told)
    if found is None:
        raise ValueError(f"{nvcc} --version names no release: {told!r:.200}")
    return found[1]


def refused(
    nvcc: str, sources: Iterable[Path], include: Path, torch: Path, processes: int
) -> dict[str, str]:
    """The sources that a compiler does not take.

    Args:
        nvcc: the compiler.
        sources: CUDA files.
        include: the folder of the kernels.
        torch: a folder of torch; its headers are those of a build.
        processes: how many to run at once.

    Returns:
        By the source's name its first error.
    """
    command = [nvcc, *FLAGS, *DEFINITIONS, "-DUSE_CUDA", f"-I{include}"]
    command += ["-isystem", str(torch / "include")]
    with tempfile.TemporaryDirectory() as folder:

        def one(file: Path) -> tuple[str, str | None]:
            words = [*command, "-o", f"{folder}/{file.stem}.o", str(file)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            said = (done.stderr + done.stdout).splitlines()
            error = next((line for line in said if "error" in line), "no error was told")
            return file.name, None if done.returncode == 0 else error

        with ThreadPoolExecutor(processes) as pool:
            return {name: error for name, error in pool.map(one, sources) if error is not None}


def table(found: Record) -> str:
    """README's table, the oldest release first."""
    lines = ["| nvcc | sources of the CUDA operators |", "|---|---|"]
    for version in sorted(found, key=lambda version: [int(part) for part in version.split(".")]):
        files, wrong = found[version]["files"], found[version]["refused"]
        told = f"**{', '.join(wrong)} of {files} refused**" if wrong else f"all {files} compile"
        lines.append(f"| {version} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Compile, record and print; 1 if a source was refused."""
    parser = argparse.ArgumentParser(prog="nvcc")
    parser.add_argument("--nvcc", action="append", default=[], help="a compiler; repeatable")
    parser.add_argument("--torch", type=Path, required=True, help="the folder of an installed one")
    parser.add_argument("--processes", type=int, default=1, help="compilers at once")
    options = parser.parse_args()
    sources = sorted((OPS / "csrc" / "cuda").glob("*.cu"))
    wrong = []
    for nvcc in options.nvcc:
        version = release(nvcc)
        errors = refused(nvcc, sources, OPS / "include", options.torch, options.processes)
        with record.kept(RECORD) as found:
            found[version] = {"files": len(sources), "refused": sorted(errors)}
            record.put(OPS / "README.md", table(found), BEGIN, END)
        print(f"nvcc {version}: {len(sources) - len(errors)} of {len(sources)} compile", flush=True)
        wrong += [f"{version}: {name}: {error}" for name, error in errors.items()]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
