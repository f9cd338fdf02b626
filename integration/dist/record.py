"""What was built, checked and run for which platform: a JSON file, and README's table of it.

``nox -s dist`` records what it built, ``nox -s arm64`` and ``nox -s pythons`` what they ran;
``python -m dist.record WHEEL REPORT.xml...`` (from this folder's parent) what pytest said of a wheel,
and where it was installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dist.platforms import LIBRARIES
from junit import counts

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("record.json")
BEGIN = "<!-- platforms: written by nox -s dist -->\n"
END = "<!-- end of platforms -->\n"
# How the table calls what tags end with, and Python's tags.
PLATFORMS = {
    "x86_64": "Linux x86-64",
    "aarch64": "Linux ARM64",
    "arm64": "macOS ARM64",
    "amd64": "Windows x86-64",
}
PYTHONS = {"cp311": "3.11", "abi3": "3.12 and later"}

Record = dict[str, dict[str, Any]]


def built(record: Record, wheel: Path, found: dict[str, str | None]) -> None:
    """Note a wheel and its checks; what was run of other libraries is no longer said.

    What was run is told of its compiled files, which are what differs between platforms: the rest
    is Python, the same everywhere.

    Args:
        record: changed.
        wheel: the file.
        found: each check by name: None where it holds, else what is wrong.
    """
    digest = _digest_of_libraries(wheel)
    old = record.get(_key(wheel), {})
    record[_key(wheel)] = {
        "file": wheel.name,
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "libraries": digest,
        "bytes": wheel.stat().st_size,
        "held": sorted(name for name, wrong in found.items() if wrong is None),
        "failed": sorted(name for name, wrong in found.items() if wrong is not None),
        "run": old.get("run") if old.get("libraries") == digest else None,
    }


def _digest_of_libraries(wheel: Path) -> str:
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(LIBRARIES)):
            digest.update(name.encode() + b"\0" + archive.read(name))
    return digest.hexdigest()


def compiled(record: Record, platform: str, names: list[str], refused: dict[str, str]) -> None:
    """Note which sources compile for a platform whose wheel is not built."""
    record[f"{platform} sources"] = {"files": len(names), "refused": sorted(refused)}


def ran(record: Record, wheel: Path, reports: Iterable[Path], where: str) -> None:
    """Note what pytest said of a recorded wheel.

    Args:
        record: changed.
        wheel: that was installed.
        reports: pytest's JUnit XML, of each part of the tests.
        where: a few words on the interpreter and the torch.

    Raises:
        ValueError: if the record holds another file, or none: build it by ``nox -s dist``.
    """
    entry = record.get(_key(wheel), {})
    if entry.get("sha256") != hashlib.sha256(wheel.read_bytes()).hexdigest():
        raise ValueError(f"{wheel.name} is not the file that nox -s dist recorded: run it first")
    reports = list(reports)
    roots = [ElementTree.parse(report).getroot() for report in reports]
    files = {case.get("classname") for root in roots for case in root.iter("testcase")}
    entry["run"] = {"where": where, "files": len(files), **counts(*reports)}


def table(record: Record) -> str:
    """README's table; a platform without a record says so."""
    lines = ["| platform | Python | wheel | checks | its tests |", "|---|---|---|---|---|"]
    for platform, title in PLATFORMS.items():
        for python, versions in PYTHONS.items():
            entry, sources = (record.get(f"{platform} {key}") for key in (python, "sources"))
            cells = _cells(entry) if entry or not sources else _not_built(sources)
            lines.append(f"| {title} | {versions} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cells(entry: dict[str, Any] | None) -> tuple[str, str, str]:
    if entry is None:
        return "not built", "not run", "not run"
    tag = entry["file"].removesuffix(".whl").split("-")[-1].split(".")[-1]
    checks = f"{len(entry['held'])} hold" if entry["held"] else ""
    if entry["failed"]:
        checks = f"**{', '.join(entry['failed'])} failed**, {checks}".removesuffix(", ")
    run = entry["run"]
    if run is None:
        return f"`{tag}`, {entry['bytes'] / 1024:.0f} KiB", checks, "not run"
    told = f"{run['files']} files: {run['passed']} passed"
    told += f", **{run['failed']} failed**" if run["failed"] else ""
    told += f", {run['skipped']} skipped" if run["skipped"] else ""
    return f"`{tag}`, {entry['bytes'] / 1024:.0f} KiB", checks, f"{told} ({run['where']})"


def _not_built(sources: dict[str, Any]) -> tuple[str, str, str]:
    count, refused = sources["files"], sources["refused"]
    told = f"**{', '.join(refused)} of {count} refused**" if refused else f"all {count} compile by clang"
    return "not built", f"sources: {told}", "not run"


def _key(wheel: Path) -> str:
    """Of a file name: the processor or system that its tag ends with, and Python's tag."""
    python, abi, tags = wheel.stem.split("-")[-3:]
    platform = next((name for name in PLATFORMS if tags.endswith(f"_{name}")), tags)
    return f"{platform} {'abi3' if abi == 'abi3' else python}"


def block(readme: str, begin: str = BEGIN, end: str = END) -> str:
    """What stands between the marks in README's text."""
    return readme.split(begin, 1)[1].split(end, 1)[0]


def put(readme: Path, content: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the marks."""
    text = readme.read_text()
    readme.write_text(text.replace(begin + block(text, begin, end) + end, begin + content + end))


def read(file: Path = RECORD) -> Record:
    """The record, empty where there is none."""
    return json.loads(file.read_text()) if file.exists() else {}


@contextmanager
def kept(file: Path) -> Iterator[dict[str, Any]]:
    """What a JSON file holds, to change: written at the end, by one process at a time."""
    with file.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        content = json.loads(stream.read() or "{}")
        yield content
        stream.truncate(0)
        stream.write(json.dumps(content, indent=2, sort_keys=True) + "\n")


@contextmanager
def changed(file: Path = RECORD, readme: Path = ROOT / "README.md") -> Iterator[Record]:
    """The record, to change; its table is put into README."""
    with kept(file) as record:
        yield record
        put(readme, table(record))


def main() -> None:
    """Record a run."""
    parser = argparse.ArgumentParser(prog="dist.record")
    parser.add_argument("wheel", type=Path, help="that was installed")
    parser.add_argument("report", type=Path, nargs="+", help="pytest's --junitxml")
    parser.add_argument("--where", required=True, help="such as 'CPython 3.11, torch 2.13'")
    options = parser.parse_args()
    with changed() as record:
        ran(record, options.wheel, options.report, options.where)


if __name__ == "__main__":
    main()
