"""Two small packages, one of which computes otherwise than its release did."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import mixed_suites
import pytest
import release

if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)
pytest.importorskip("build", reason="build, which makes wheels, is not installed")

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "0.1.0"
dependencies = [{needs}]
[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""


def add(root: Path, name: str, source: str, *needs: str) -> Path:
    folder, module = root / "packages" / name, name.replace("-", "_")
    (folder / "src" / module).mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "src" / module / "__init__.py").write_text(source)
    listed = ", ".join(f'"{one}"' for one in needs)
    (folder / "pyproject.toml").write_text(PROJECT.format(name=name, module=module, needs=listed))
    return folder


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """d2-low 0.1.0 is released and gives 1; the tree has 0.1.1, which gives 2, as d2-high needs."""
    root = tmp_path / "repository"
    low = add(root, "d2-low", "def size():\n    return 1\n")
    high = add(root, "d2-high", "from d2_low import size\n", "d2-low>=0.1.0,<0.2.0")
    top = add(root, "d2-top", "from d2_high import size\n", "d2-high>=0.1.0,<0.2.0")
    for folder in (high, top):
        module = folder.name.replace("-", "_")
        test = f"import {module}\n\ndef test_size():\n    assert {module}.size() == 2\n"
        (folder / "tests" / f"test_{module}.py").write_text(test)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for key, value in (("user.name", "test"), ("user.email", "test@test")):
        release.git(root, "config", key, value)
    release.git(root, "add", "-A")
    release.git(root, "commit", "-qm", "all")
    release.git(root, "tag", "-am", "released", "d2-low-v0.1.0")
    change(low / "src" / "d2_low" / "__init__.py", "return 1", "return 2")
    change(low / "pyproject.toml", 'version = "0.1.0"', 'version = "0.1.1"')
    return root


def test_both_ends_of_ranges_are_met_where_something_is_released(root: Path) -> None:
    oldest = mixed_suites.Neighbour("d2-low", "0.1.0", "d2-low-v0.1.0")
    assert mixed_suites.neighbourhoods(root, "d2-low") == {}
    assert mixed_suites.neighbourhoods(root, "d2-high") == {"oldest": [oldest]}
    of_the_tree = mixed_suites.Neighbour("d2-high", "0.1.0", None)
    assert mixed_suites.neighbourhoods(root, "d2-top") == {"oldest": [of_the_tree, oldest]}
    release.git(root, "commit", "-qam", "two")
    release.git(root, "tag", "-am", "released", "d2-low-v0.1.1")
    newest = mixed_suites.Neighbour("d2-low", "0.1.1", "d2-low-v0.1.1")
    assert mixed_suites.neighbourhoods(root, "d2-high") == {"oldest": [oldest], "newest": [newest]}
    change(root / "packages" / "d2-high" / "pyproject.toml", ">=0.1.0", ">=0.1.1")
    assert mixed_suites.neighbourhoods(root, "d2-top") == {"oldest": [of_the_tree, newest]}


def test_what_a_release_computes_otherwise_fails_beside_it(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "packages" / "d2-top")
    arguments = root, tmp_path / "work", sys.executable, Path(sysconfig.get_path("purelib")), ()
    assert list(mixed_suites.runs(*arguments)) == [
        ("d2-high beside the oldest, d2-low 0.1.0", {"passed": 0, "failed": 1, "skipped": 0})
    ]
    high = root / "packages" / "d2-high" / "src" / "d2_high" / "__init__.py"
    high.write_text("import d2_low\n\ndef size():\n    return max(d2_low.size(), 2)\n")
    ((_, told),) = mixed_suites.runs(*arguments)
    assert told == {"passed": 1, "failed": 0, "skipped": 0}


def test_what_cannot_be_installed_together_has_failed(root: Path, tmp_path: Path) -> None:
    project = root / "packages" / "d2-low" / "pyproject.toml"
    change(project, "[]", '["d2-high>=7"]')
    release.git(root, "commit", "-qam", "need what is not there")
    release.git(root, "tag", "-fam", "released", "d2-low-v0.1.0")
    change(project, '["d2-high>=7"]', "[]")
    site = Path(sysconfig.get_path("purelib"))
    words, told = next(mixed_suites.runs(root, tmp_path / "work", sys.executable, site, ()))
    assert words.endswith("d2-low 0.1.0, which cannot be installed together")
    assert told["failed"] == 1
