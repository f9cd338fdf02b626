"""Each package imports only what its own pyproject declares, wherever the import stands."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir())
BELOW = {
    "d2-config": set(),
    "d2-ops": set(),
    "d2-structures": {"d2-ops"},
    "d2-data": {"d2-config", "d2-ops", "d2-structures"},
    "d2-modeling": {"d2-config", "d2-ops", "d2-structures"},
    "d2-eval": {"d2-config", "d2-ops", "d2-structures", "d2-data"},
    "d2-engine": {"d2-config", "d2-ops", "d2-structures", "d2-data", "d2-modeling", "d2-eval"},
}


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@cache
def declared(package: str) -> set[str]:
    """Distributions that a package names, its optional ones included."""
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    return {normalized(re.split(r"[\s<>=!~\[;]", d)[0]) for group in groups for d in group}


def imported(source: str) -> Iterator[str]:
    """Top-level names of absolute imports, in functions and by string too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0] if node.args else None
            by_string = name in {"import_module", "__import__", "find_spec", "import_optional"}
            if by_string and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value.lstrip(".").split(".")[0]


@cache
def installed() -> Mapping[str, list[str]]:
    """What distributions an installed package is of; looking it up takes seconds."""
    return packages_distributions()


def undeclared(package: str, source: str) -> set[str]:
    """Imports of a source text that the package's pyproject does not cover."""
    allowed = declared(package)
    providers = installed()
    found = set()
    for name in imported(source):
        if name in sys.stdlib_module_names or name == package.replace("-", "_"):
            continue
        distributions = {normalized(d) for d in providers.get(name, [name])}
        if not distributions & allowed:
            found.add(name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_declares(package):
    sources = sorted((ROOT / "packages" / package / "src").rglob("*.py"))
    assert sources
    offences = {
        str(path.relative_to(ROOT)): names
        for path in sources
        if (names := undeclared(package, path.read_text()))
    }
    assert offences == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_declares_only_packages_of_lower_layers(package):
    assert {d for d in declared(package) if d in BELOW} <= BELOW[package]


@pytest.mark.parametrize(
    "source",
    [
        "import d2_engine",
        "def f():\n    from d2_engine.hooks import EvalHook",
        "import importlib\nimportlib.import_module('d2_engine.cli')",
        "__import__('d2_engine')",
    ],
)
def test_the_checker_sees_an_upward_import(source):
    assert undeclared("d2-data", source) == {"d2_engine"}
