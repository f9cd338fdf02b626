"""Each package beside the versions of its neighbours that its ranges allow: ``nox -s mixed``.

Of every allowed version of a neighbour, its tag or the tree, the names are read that its faces
list, and those are looked for that the package imports or takes from an imported module
(``host.rle_encode``). Nothing is built or run: ``mixed_suites`` does that.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from release import Version, dotted, parse, releases

ROOT = Path(__file__).parents[1]


class Names(NamedTuple):
    """What a package takes from others, as pairs of a module and a name in it."""

    imported: set[tuple[str, str]]
    attributes: set[tuple[str, str]]  # of what was imported, which need not be a module


def misfits(root: Path, packages: Iterable[str] = ()) -> Iterator[tuple[str, str, list[str]]]:
    """Every pair that ranges allow.

    Args:
        root: of the repository.
        packages: whose neighbours are looked at; all without it.

    Yields:
        The package, the neighbour with its version, and what it lacks, as dotted names.
    """
    for package in packages or _packages(root):
        names = taken(root / "packages" / package / "src")
        for neighbour, lower, upper in ranges(root, package):
            for version, tag in versions(root, neighbour):
                if lower <= version < upper:
                    lacks = lacking(root, names, neighbour, tag)
                    yield package, f"{neighbour} {dotted(version)}", lacks


def ranges(root: Path, package: str) -> Iterator[tuple[str, Version, Version]]:
    """The neighbours that a package declares, and the two ends of each range."""
    for dependency in _project(root, package)["dependencies"]:
        match = re.fullmatch(r"([\w-]+)>=([\d.]+),<([\d.]+)", dependency)
        if match and match[1] in _packages(root):
            yield match[1], _padded(match[2]), _padded(match[3])


def versions(root: Path, package: str) -> list[tuple[Version, str | None]]:
    """Every released version with its tag, and the tree's, which has none until it is released."""
    found: dict[Version, str | None] = {parse(_project(root, package)["version"]): None}
    return sorted((found | releases(root, package)).items())


def taken(source: Path) -> Names:
    """What absolute imports bring, in functions too, and the attributes taken of it."""
    names = Names(set(), set())
    for file in source.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        bound: dict[str, str] = {}  # what a name in the file stands for
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.imported.update((node.module, alias.name) for alias in node.names)
                bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    parent, _, last = alias.name.rpartition(".")
                    if parent:
                        names.imported.add((parent, last))
                    first = alias.name.split(".")[0]
                    bound[alias.asname or first] = alias.name if alias.asname else first
        for node in nodes:
            if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
                first, *rest = ast.unparse(node.value).split(".")
                if first in bound:
                    names.attributes.add((".".join([bound[first], *rest]), node.attr))
    return names


def lacking(root: Path, names: Names, neighbour: str, tag: str | None) -> list[str]:
    """What is taken from a neighbour whose sources at a tag do not offer it."""

    @cache
    def face(module: str) -> set[str] | None:
        return _face(root, neighbour, module, tag)

    found = set()
    for module, name in names.imported | names.attributes:
        if module.split(".")[0] != neighbour.replace("-", "_"):
            continue
        offered = face(module)
        if offered is None:
            if (module, name) in names.imported:
                found.add(module)
        elif name not in offered and face(f"{module}.{name}") is None:
            found.add(f"{module}.{name}")
    return sorted(found)


def _face(root: Path, package: str, module: str, tag: str | None) -> set[str] | None:
    """The names that a module offers: its ``__all__``, else what it defines; None without it."""
    path = f"packages/{package}/src/{module.replace('.', '/')}"
    text = _source(root, f"{path}/__init__.py", tag)
    if text is None:
        text = _source(root, f"{path}.py", tag)
    if text is None:
        return None
    body = ast.parse(text).body
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    defined = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assigned = [n for n in body if isinstance(n, ast.Assign | ast.AnnAssign)]
    return defined | {
        name.id for n in assigned for name in ast.walk(n) if isinstance(name, ast.Name)
    }


def _source(root: Path, path: str, tag: str | None) -> str | None:
    if tag is None:
        return (root / path).read_text() if (root / path).exists() else None
    command = ["git", "-C", str(root), "show", f"{tag}:{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _packages(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "packages").iterdir())


def _project(root: Path, package: str) -> dict:
    return tomllib.loads((root / "packages" / package / "pyproject.toml").read_text())["project"]


def _padded(version: str) -> Version:
    major, minor, patch = (*map(int, version.split(".")), 0, 0)[:3]
    return major, minor, patch


def main() -> int:
    """Print each pair; 1 if one does not fit."""
    wrong = 0
    for package, neighbour, lacks in misfits(ROOT):
        print(f"{package} beside {neighbour}:", "lacks " + ", ".join(lacks) if lacks else "fits")
        wrong += bool(lacks)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
