"""Files for an index, their checks, a table of both, and README's: ``nox -s dist`` calls this."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dist import checks, record
from dist.build import build_wheel
from dist.platforms import PLATFORMS, Platform, torch_folder

PROVEN = ("x86_64", "aarch64")  # macOS by --platform macos: its build has not been proven
ROOT = Path(__file__).parents[2]


def check(path: Path, platform: Platform | None, torch: Path | None, work: Path) -> dict:
    """Each check by name: None where it holds, else what is wrong."""
    if not path.name.endswith(".whl"):
        return {"twine": checks.twine(path), "size": checks.size(path)}
    machine = (ROOT, work, Path(sys.prefix), Path.home() / ".cache")
    found = {
        "twine": checks.twine(path),
        "contents": checks.contents(path),
        "size": checks.size(path),
        "licence": checks.licence(path),
        "paths": checks.build_paths(path, machine),
        "install": checks.installs_without_index(path, platform),
    }
    if platform is not None and torch is not None:
        found["symbols"] = checks.undefined_symbols(path, platform, torch)
    if "-abi3-" in path.name:
        found["abi3audit"] = checks.abi3(path)
    if platform is not None and platform.system == "Linux":
        found["auditwheel"] = None  # repaired, or it had raised
    return found


def row(path: Path, found: dict[str, str | None]) -> str:
    """A line of the table."""
    tag = "-".join(path.stem.split("-")[2:]) if path.suffix == ".whl" else "sdist"
    held = " ".join(name for name, wrong in found.items() if wrong is None)
    failed = "".join(f" FAILED {name}" for name, wrong in found.items() if wrong is not None)
    return f"| {path.name} | {tag} | {path.stat().st_size / 1024:.0f} KiB | {held}{failed} |"


def main() -> int:
    """Build and check; 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="dist")
    parser.add_argument("--work", type=Path, required=True, help="downloads, compilers, caches")
    parser.add_argument("--out", type=Path, required=True, help="where the files are put")
    parser.add_argument(
        "--sdist", type=Path, help="of d2-ops, unpacked: its wheels are built from it"
    )
    parser.add_argument(
        "--python", action="append", default=[], help="an interpreter to build with"
    )
    parser.add_argument("--platform", action="append", choices=sorted(PLATFORMS))
    parser.add_argument("--torch", action="append", default=[], help="PLATFORM=FOLDER of a torch")
    parser.add_argument(
        "--other", type=Path, action="append", default=[], help="checked as they are"
    )
    options = parser.parse_args()

    folders = {name: Path(folder) for name, folder in (t.split("=", 1) for t in options.torch)}
    rows, wrong, noted = [], [], record.read()
    made: list[tuple[Path, Platform | None, Path | None]] = [(p, None, None) for p in options.other]
    for name in (options.platform or PROVEN) if options.sdist else ():
        torch = folders.get(name) or torch_folder(name, options.work / "torch")
        for python in options.python:
            wheel = build_wheel(options.sdist, name, torch, python, options.work)
            fit = checks.fit_for_an_index(wheel, PLATFORMS[name], options.out)
            made.append((fit, PLATFORMS[name], torch))
            print(f"built {made[-1][0].name}", flush=True)
    for path, platform, torch in made:
        found = check(path, platform, torch, options.work)
        rows.append(row(path, found))
        if platform is not None:
            record.built(noted, path, found)
        wrong += [f"{path.name}: {name}: {text}" for name, text in found.items() if text]
    record.write(noted)
    print("| file | tag | size | checks that hold |", "|---|---|---:|---|", sep="\n")
    print(*rows, *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
