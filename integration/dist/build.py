"""One cross-built wheel of d2-ops: ``zig c++`` under scikit-build-core."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from dist.platforms import PLATFORMS, Platform

# Python.h leaves stdio out of its limited API, nanobind needs it, and libc++ does not bring it.
# Not for every source: what does not know Python is compiled once for all Pythons.
LIMITED = 'case "$*" in *Py_LIMITED_API*) set -- -include cstdio "$@" ;; esac'

# Its linker makes libraries of macOS and no bundles; Python, which loads both alike, brings its own
# names, and nanobind's list of those is in the words of another linker.
BUNDLES = """for word do
  shift
  case "$word" in
    -bundle) set -- "$@" -shared -Wl,-undefined,dynamic_lookup ;;
    -Wl,@*) ;;
    *) set -- "$@" "$word" ;;
  esac
done"""


def build_wheel(sdist: Path, name: str, torch: Path, python: str, work: Path) -> Path:
    """Build a wheel from an sdist for a platform.

    Args:
        sdist: the unpacked source archive of d2-ops, always the same folder, so that what both
            Pythons share is compiled once.
        name: a key of ``platforms.PLATFORMS``.
        torch: the folder of that platform's torch.
        python: the interpreter whose version the wheel is for, with build tools installed.
        work: a folder for compilers, caches and the result.

    Returns:
        The wheel, not yet tagged for an index.
    """
    platform = PLATFORMS[name]
    outcome = work / f"{name}-{Path(python).parents[1].name}"
    outcome.mkdir(parents=True, exist_ok=True)
    for old in outcome.glob("*.whl"):
        old.unlink()
    compilers = _compilers(platform, work / "compilers" / name)
    definitions = _definitions(platform, torch, _version(python), compilers)
    settings = [f"cmake.define.{key}={value}" for key, value in definitions.items()]
    settings += ["install.strip=false"]  # the linker strips: -s
    subprocess.run(
        [
            *(python, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"),
            # pip's cache would take it for a wheel of this machine.
            *("--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(outcome), str(sdist)),
            *(f"--config-settings={setting}" for setting in settings),
        ],
        env=os.environ
        | {
            "CC": str(compilers / "cc"),
            "CXX": str(compilers / "c++"),
            "LDFLAGS": "-s",
            "PATH": os.pathsep.join([str(Path(python).parent), os.environ["PATH"]]),
            "ZIG_GLOBAL_CACHE_DIR": str(work / "zig"),
            "ZIG_LOCAL_CACHE_DIR": str(work / "zig"),
        },
        check=True,
    )
    (wheel,) = outcome.glob("*.whl")
    return wheel


def _version(python: str) -> str:
    code = "import sys; print('%d%d' % sys.version_info[:2])"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def _compilers(platform: Platform, folder: Path) -> Path:
    """Programs that CMake takes for compilers and archivers."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = {
        "cc": ("cc", "-target", platform.zig),
        "c++": ("c++", "-target", platform.zig),
        "ar": ("ar",),
        "ranlib": ("ranlib",),
    }
    for name, words in commands.items():
        program = folder / name
        words = (sys.executable, "-m", "ziglang", *words)
        changes = f"{LIMITED}\n{BUNDLES}" if platform.system == "Darwin" else LIMITED
        program.write_text(f'#!/bin/sh\n{changes}\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
    return folder


def _definitions(
    platform: Platform, torch: Path, version: str, compilers: Path
) -> dict[str, str | Path]:
    definitions: dict[str, str | Path] = {
        "CMAKE_SYSTEM_NAME": platform.system,
        "CMAKE_SYSTEM_PROCESSOR": platform.processor,
        "CMAKE_AR": compilers / "ar",
        "CMAKE_RANLIB": compilers / "ranlib",
        "D2_OPS_CUDA": "OFF",
        "D2_OPS_TORCH_DIR": torch,
        # The building Python would name modules for its own platform.
        "SKBUILD_SOABI": f"cpython-{version}-{platform.soabi}",
    }
    if platform.system == "Darwin":
        definitions |= {
            "CMAKE_OSX_DEPLOYMENT_TARGET": "",  # in the target's name already
            "CMAKE_OSX_SYSROOT": "",
            "CMAKE_INSTALL_NAME_TOOL": "true",
        }
    return definitions
