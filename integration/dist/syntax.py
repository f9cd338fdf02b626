"""Sources of d2-ops compiled for other platforms without linking, and what the compiler says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# What Python.h asks of its configuration on Windows, where it is another file than here.
WINDOWS = """
#include <basetsd.h>
#include <io.h>
#include <limits.h>
#define MS_WIN32 1
#define MS_WIN64 1
#define MS_WINDOWS 1
#define NT_THREADS 1
#define WITH_THREAD 1
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_VOID_P 8
#define SIZEOF_WCHAR_T 2
#define ALIGNOF_SIZE_T 8
#define HAVE_PY_SSIZE_T 1
#define PY_SSIZE_T_MAX LLONG_MAX
typedef SSIZE_T Py_ssize_t;
"""
# Platforms whose wheels are not built here, by what their tags end with.
TARGETS = {"amd64": ("x86_64-windows-gnu", WINDOWS)}
FLAGS = ("-std=c++17", "-c", "-ffp-contract=off", "-fno-trapping-math")
STRICT = ("-O0", "-Wall", "-Wextra", "-Werror")
REPORTS = ("-O3", "-gline-tables-only", "-Rpass=loop-vectorize")
DEFINITIONS = ("-DTORCH_TARGET_VERSION=0x020a000000000000", "-DD2_OPS_NAMESPACE=d2_ops")
VECTORISED = re.compile(
    r"include/d2_ops/(\S+?):(\d+):\d+: remark: vectorized loop \(vectorization width: (\d+)"
)


def refused(source: Path, target: str, configuration: str, torch: Path, work: Path) -> dict:
    """The sources that a compiler for another platform does not take, or warns of.

    Args:
        source: the folder of d2-ops.
        target: as ``zig c++`` calls it.
        configuration: the text of Python's ``pyconfig.h`` there.
        torch: a folder of torch; its headers are the same for every platform.
        work: where the compiler keeps its cache.

    Returns:
        By the source's name its first error.
    """
    said = compiled(source, target, STRICT, torch, work, configuration)
    return {
        name: next((line for line in text.splitlines() if "error" in line), text[-200:])
        for name, (code, text) in said.items()
        if code != 0
    }


def vectorised(source: Path, target: str, torch: Path, work: Path) -> dict[str, dict[int, int]]:
    """The loops of the kernels that the compiler turned into vector instructions.

    Returns:
        By header, by line, the most values that one instruction computes.
    """
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for _, text in compiled(source, target, REPORTS, torch, work).values():
        for header, line, width in VECTORISED.findall(text):
            lines = found[header]
            lines[int(line)] = max(lines.get(int(line), 0), int(width))
    return dict(sorted(found.items()))


def compiled(
    source: Path,
    target: str,
    flags: tuple[str, ...],
    torch: Path,
    work: Path,
    configuration: str | None = None,
) -> dict[str, tuple[int, str]]:
    """By each source's name the compiler's exit code and what it said."""
    import nanobind

    with tempfile.TemporaryDirectory() as folder:
        headers = Path(folder) / "python"
        shutil.copytree(sysconfig.get_path("include"), headers)
        if configuration is not None:
            (headers / "pyconfig.h").write_text(configuration)
        command = [sys.executable, "-m", "ziglang", "c++", "-target", target, *FLAGS, *flags]
        command += [*DEFINITIONS, f"-I{source / 'include'}"]
        system = (torch / "include", Path(nanobind.include_dir()), headers)
        command += [word for path in system for word in ("-isystem", str(path))]
        cache = {f"ZIG_{kind}_CACHE_DIR": str(work / "zig") for kind in ("GLOBAL", "LOCAL")}

        def one(file: Path) -> tuple[int, str]:
            words = [*command, "-o", f"{folder}/{file.stem}.o", str(file)]
            done = subprocess.run(
                words, env=os.environ | cache, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stderr

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            files = sources_of(source)
            return dict(zip([f.name for f in files], pool.map(one, files), strict=True))


def sources_of(source: Path) -> list[Path]:
    """The C++ files that every platform compiles."""
    parts = (source / "csrc" / name for name in ("cpu", "host", "onnx"))
    return sorted(file for part in parts for file in part.glob("*.cpp"))
