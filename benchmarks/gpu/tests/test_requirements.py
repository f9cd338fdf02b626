"""What the pack holds follows what the packages declare."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requirements

SEVEN = ("config", "data", "engine", "eval", "modeling", "ops", "structures")


def test_each_declared_requirement_is_packed_provided_or_ours() -> None:
    packed = {requirements.project(r) for r in requirements.packed()}
    for package in SEVEN:
        path = requirements.ROOT / "packages" / f"d2-{package}" / "pyproject.toml"
        for requirement in tomllib.loads(path.read_text())["project"]["dependencies"]:
            name = requirements.project(requirement)
            assert name in packed | set(requirements.PROVIDED) or name.startswith("d2-"), package


def test_building_the_kernels_needs_nothing_that_is_not_packed() -> None:
    assert {"nanobind", "scikit-build-core"} <= set(
        map(requirements.project, requirements.packed())
    )


def test_a_new_requirement_of_a_package_gets_into_the_pack(tmp_path: Path) -> None:
    folder = tmp_path / "packages" / "d2-new"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\ndependencies = ["d2-ops>=0.1", "Some_Thing>=2", "torch>=2.10"]\n'
    )
    assert requirements.packed(tmp_path) == ["Some_Thing>=2"]


@pytest.mark.parametrize(
    ("requirement", "name"),
    [("PyYAML>=6.0", "pyyaml"), ("a_b.c[x]<2", "a-b-c"), ("plain", "plain"), ("x ; y", "x")],
)
def test_names_are_normalised(requirement: str, name: str) -> None:
    assert requirements.project(requirement) == name


def test_what_is_absent_or_too_old_is_missing() -> None:
    asked = ["pytest>=1", "pytest>=10000.1", "surely-not-installed-anywhere", "pytest"]
    assert requirements.missing(asked) == asked[1:3]


def test_the_packing_script_asks_for_that_list() -> None:
    script = requirements.ROOT / "benchmarks" / "gpu" / "requirements.py"
    printed = subprocess.check_output([sys.executable, script], text=True).split()
    assert printed == requirements.packed()
    assert (
        'wanted < <("$python" "$here/requirements.py")' in (script.parent / "pack.sh").read_text()
    )
