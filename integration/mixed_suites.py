"""The suite of each package beside released neighbours, built from their tags.

``nox -s mixed`` calls this behind the comparison of names: what a neighbour computes otherwise
shows here only. Before a neighbour is released there is nothing to run.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dist.interpreters import environment
from mixed import ranges, versions
from pythons import suite
from release import Version, dotted

ROOT = Path(__file__).parents[1]


class Neighbour(NamedTuple):
    """A package as it is installed beside another; without a tag it is the tree's."""

    package: str
    version: str
    tag: str | None


def neighbourhoods(root: Path, package: str) -> dict[str, list[Neighbour]]:
    """All that a package needs of this repository, in the oldest and newest versions allowed.

    Args:
        root: of the repository.
        package: whose ranges, and whose neighbours' ranges, are read from the tree.

    Returns:
        ``oldest`` and ``newest``, where a neighbour of them has a tag.
    """
    bounds = _bounds(root, package)
    allowed = {
        name: [found for found in versions(root, name) if lower <= found[0] < upper]
        for name, (lower, upper) in bounds.items()
    }
    ends = {}
    for end, place in (("oldest", 0), ("newest", -1)):
        chosen = [
            Neighbour(name, dotted(found[place][0]), found[place][1])
            for name, found in allowed.items()
        ]
        if any(each.tag for each in chosen) and chosen not in ends.values():
            ends[end] = chosen
    return ends


def _bounds(root: Path, package: str) -> dict[str, tuple[Version, Version]]:
    """Of each neighbour, direct or not, the two ends of the range that all agree on."""
    bounds: dict[str, tuple[Version, Version]] = {}
    waiting = [package]
    for one in waiting:
        for name, lower, upper in ranges(root, one):
            least, most = bounds.get(name, (lower, upper))
            bounds[name] = max(least, lower), min(most, upper)
            if name not in waiting:
                waiting.append(name)
    return bounds


def wheel(root: Path, package: str, tag: str | None, python: str, folder: Path) -> Path:
    """The wheel of a package at a tag, or of the tree, built where it is not there yet.

    Args:
        root: of the repository.
        package: its name.
        tag: of git; None for the tree.
        python: in whose environment the tools of the build are.
        folder: where wheels are kept by tag.
    """
    target = folder / (tag or f"{package}-tree")
    if tag is None or not list(target.glob("*.whl")):
        shutil.rmtree(target, ignore_errors=True)
        command = [python, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
        with tempfile.TemporaryDirectory() as unpacked:
            source = root / "packages" / package
            if tag is not None:
                archive = ["git", "-C", str(root), "archive", tag, f"packages/{package}"]
                content = subprocess.run(archive, capture_output=True, check=True).stdout
                with tarfile.open(fileobj=io.BytesIO(content)) as files:
                    files.extractall(unpacked, filter="data")
                source = Path(unpacked) / "packages" / package
            subprocess.run([*command, str(source)], stdout=subprocess.DEVNULL, check=True)
    (found,) = target.glob("*.whl")
    return found


def runs(
    root: Path, work: Path, python: str, site: Path, tools: Sequence[str]
) -> Iterator[tuple[str, dict[str, int]]]:
    """Run each package's suite beside both ends of its ranges.

    Args:
        root: of the repository.
        work: where wheels and the environment are made.
        python: that builds, and that environments are made of.
        site: a folder that environments import from, too, with torch.
        tools: what the tests need.

    Yields:
        Words on what ran, and the counts of its tests; what cannot be installed has failed once.
    """
    for folder in sorted((root / "packages").iterdir()):
        for end, chosen in neighbourhoods(root, folder.name).items():
            beside = ", ".join(f"{each.package} {each.version}" for each in chosen)
            built = [wheel(root, name, tag, python, work) for name, _, tag in chosen]
            built.append(wheel(root, folder.name, None, python, work))
            place = work / "environment"
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([python, "-m", "venv", str(place)], check=True)
            (packages,) = place.glob("lib/python*/site-packages")
            (packages / "shared.pth").write_text(f"{site}\n")
            told = {"passed": 0, "failed": 1, "skipped": 0}
            try:
                inside = environment(python, place, [*tools, *map(str, built)])
            except subprocess.CalledProcessError:
                beside += ", which cannot be installed together"
            else:
                short = folder.name.removeprefix("d2-")
                told = suite(inside, short, work / f"{folder.name}-{end}.xml", 2, root)
            yield f"{folder.name} beside the {end}, {beside}", told


def main() -> int:
    """Print each run; 1 if a test failed."""
    parser = argparse.ArgumentParser(prog="mixed_suites")
    parser.add_argument("--work", type=Path, required=True, help="where wheels are built")
    parser.add_argument("--site", type=Path, required=True, help="a site-packages with torch")
    parser.add_argument("--tool", action="append", default=[], help="what tests need")
    options = parser.parse_args()
    found = list(runs(ROOT, options.work, sys.executable, options.site, options.tool))
    for words, told in found:
        print(f"{words}: {told}")
    if not found:
        print("suites: no neighbour is released yet, beside which one could run")
    return 1 if any(told["failed"] for _, told in found) else 0


if __name__ == "__main__":
    sys.exit(main())
