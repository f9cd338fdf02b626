"""Files for an index, their checks, a table of both, and README's: ``nox -s dist`` calls this."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dist import checks, record, syntax
from dist.build import build_wheel
from dist.interpreters import environment, interpreter
from dist.platforms import PLATFORMS, Platform, torch_folder

ROOT = Path(__file__).parents[2]
# A file, and for a wheel of d2-ops its platform and the torch that it was built against.
Made = tuple[Path, Platform | None, Path | None]
# By platform the names of the sources, and what was said of those that were refused.
Compiled = dict[str, tuple[list[str], dict[str, str]]]


def check(path: Path, platform: Platform | None, torch: Path | None, work: Path) -> dict:
    """Each check by name: None where it holds, else what is wrong."""
    if not path.name.endswith(".whl"):
        return {"twine": checks.twine(path), "size": checks.size(path)}
    found = {
        "twine": checks.twine(path),
        "contents": checks.contents(path),
        "size": checks.size(path),
        "licence": checks.licence(path),
        "paths": checks.build_paths(path, folders_of_builds(work)),
        "install": checks.installs_without_index(path, platform),
    }
    if platform is not None and torch is not None:
        found["symbols"] = checks.undefined_symbols(path, platform, torch)
    if "-abi3-" in path.name:
        found["abi3audit"] = checks.abi3(path)
    if platform is not None and platform.system == "Linux":
        found["auditwheel"] = checks.auditwheel(path)
    return found


def folders_of_builds(work: Path) -> list[Path]:
    """What paths of this machine begin with; those of CMake and of pip are temporary."""
    temporary = Path(tempfile.gettempdir())
    machine = [ROOT, work, Path(sys.prefix), Path.home() / ".cache"]
    return [*machine, temporary / tempfile.gettempprefix(), temporary / "pip-"]


def row(path: Path, found: dict[str, str | None]) -> str:
    """A line of the table."""
    tag = "-".join(path.stem.split("-")[2:]) if path.suffix == ".whl" else "sdist"
    held = " ".join(name for name, wrong in found.items() if wrong is None)
    failed = "".join(f" FAILED {name}" for name, wrong in found.items() if wrong is not None)
    return f"| {path.name} | {tag} | {path.stat().st_size / 1024:.0f} KiB | {held}{failed} |"


def pythons(versions: Iterable[str], work: Path, tools: list[str]) -> list[str]:
    """An environment to build in for each version.

    Raises:
        LookupError: if one is not found: what is there without it would not serve every Python.
    """
    found = {version: interpreter(version) for version in versions}
    if missing := [version for version, python in found.items() if python is None]:
        raise LookupError(
            f"no Python {' and no Python '.join(missing)} was found, with which wheels are built "
            "for it (for all later ones with 3.12): install it, or name what to build with: "
            "nox -s dist -- --python 3.11"
        )
    return [
        environment(str(python), work / f"python{version}", tools)
        for version, python in found.items()
    ]


def unpacked(sdist: Path, folder: Path) -> Path:
    """The folder of an sdist; always the same, so that compilers' caches know its files."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.unpack_archive(sdist, folder, filter="data")
    (source,) = folder.iterdir()
    return source


def other_platforms(source: Path, torch: Path, work: Path) -> Compiled:
    """The sources compiled for each platform whose wheels are not built, and those refused."""
    names = [file.name for file in syntax.sources_of(source)]
    found = {}
    for platform, (target, configuration) in syntax.TARGETS.items():
        refused = syntax.refused(source, target, configuration, torch, work)
        found[platform] = names, refused
        print(f"{target}: {len(names) - len(refused)} of {len(names)} sources compile", flush=True)
    return found


def neon_report(source: Path, torch: Path, work: Path) -> str:
    """A table of the loops that become NEON instructions, by the compiler's own report."""
    found = syntax.vectorised(source, PLATFORMS["aarch64"].zig, torch, work)
    rows = [
        f"| {header} | {', '.join(map(str, sorted(loops)))} | {max(loops.values())} |"
        for header, loops in found.items()
    ]
    head = ("| kernel | lines of loops in NEON | most values at once |", "|---|---|---:|")
    return "\n".join([*head, *rows])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dist")
    folder = {"type": lambda text: Path(text).resolve(), "required": True}
    parser.add_argument("--work", **folder, help="downloads, compilers, caches")
    parser.add_argument("--out", **folder, help="where the files are put")
    parser.add_argument("--sdist", type=Path, help="of d2-ops: its wheels are built from it")
    parser.add_argument("--python", action="append", help="a version to build with")
    parser.add_argument("--tool", action="append", default=[], help="needed to build")
    parser.add_argument("--platform", action="append", choices=sorted(PLATFORMS))
    parser.add_argument("--torch", action="append", default=[], help="PLATFORM=FOLDER of a torch")
    parser.add_argument(
        "--other", type=Path, action="append", default=[], help="checked as they are"
    )
    return parser.parse_args()


def cross_built(options: argparse.Namespace) -> tuple[list[Made], Compiled]:
    """d2-ops' wheels, and what compilers say of its sources for platforms that have none.

    Raises:
        LookupError: if a Python to build with is not found.
    """
    builders = pythons(options.python or ("3.11", "3.12"), options.work, options.tool)
    source = unpacked(options.sdist, options.work / "source")
    folders = {name: Path(folder) for name, folder in (t.split("=", 1) for t in options.torch)}
    made: list[Made] = []
    for name in options.platform or PLATFORMS:
        torch = folders.get(name) or torch_folder(name, options.work / "torch")
        for python in builders:
            wheel = build_wheel(source, name, torch, python, options.work)
            fit = checks.fit_for_an_index(wheel, PLATFORMS[name], options.out)
            made.append((fit, PLATFORMS[name], torch))
            print(f"built {fit.name}", flush=True)
    if options.platform:
        return made, {}
    torch = torch_folder("aarch64", options.work / "torch")  # headers are the same for all
    compiled = other_platforms(source, torch, options.work)
    print(neon_report(source, torch, options.work), flush=True)
    return made, compiled


def main() -> int:
    """Build and check; 1 if a check failed."""
    options = _arguments()
    made: list[Made] = [
        (Path(shutil.copy(file, options.out)), None, None)
        for file in filter(None, (options.sdist, *options.other))
    ]
    compiled: Compiled = {}
    if options.sdist:
        try:
            wheels, compiled = cross_built(options)
        except LookupError as error:
            print(error, file=sys.stderr)
            return 1
        made += wheels
    found = {path: check(path, platform, torch, options.work) for path, platform, torch in made}
    with record.changed() as noted:
        for platform, (names, refused) in compiled.items():
            record.compiled(noted, platform, names, refused)
        for path, platform, _ in made:
            if platform is not None:
                record.built(noted, path, found[path])
    wrong = [f"{p}: {file}: {text}" for p, (_, r) in compiled.items() for file, text in r.items()]
    wrong += [f"{p.name}: {name}: {text}" for p, c in found.items() for name, text in c.items() if text]
    print("| file | tag | size | checks that hold |", "|---|---|---:|---|", sep="\n")
    print(*(row(path, held) for path, held in found.items()), *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
