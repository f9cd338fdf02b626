"""Versions: siblings fit each other, and what changes after a release is told."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir())

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(root: Path, *args: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=test", "-c", "user.email=test@test", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def project(root: Path, package: str) -> dict:
    return tomllib.loads((root / "packages" / package / "pyproject.toml").read_text())["project"]


def untold_changes(root: Path, package: str) -> str | None:
    """What to write where sources have changed since the release whose version they carry.

    The version is raised by the next release, which asks for that heading, too.
    """
    tag = f"{package}-v{project(root, package)['version']}"
    if tag not in git(root, "tag", "--list", tag).split():
        return None
    if not git(root, "diff", "--name-only", tag, "HEAD", "--", f"packages/{package}/src"):
        return None
    changelog = (root / "packages" / package / "CHANGELOG.md").read_text()
    if re.search(r"^## \S+ \(unreleased\)$", changelog, re.MULTILINE):
        return None
    return f"{package} has changed since {tag}: say what under '## X.Y.Z (unreleased)'"


@needs_git
@pytest.mark.parametrize("package", PACKAGES)
def test_what_has_changed_since_a_release_is_in_the_changelog(package):
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    assert untold_changes(ROOT, package) is None


@needs_git
def test_the_check_sees_a_change_after_a_tag(tmp_path):
    folder = tmp_path / "packages" / "d2-x"
    (folder / "src").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "d2-x"\nversion = "0.3.1"\n')
    (folder / "src" / "x.py").write_text("a = 1\n")
    (folder / "CHANGELOG.md").write_text("# x\n\n## 0.3.1 (2026-01-02)\n\n- x\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "d2-x-v0.3.1")
    assert untold_changes(tmp_path, "d2-x") is None

    (folder / "src" / "x.py").write_text("a = 2\n")
    git(tmp_path, "commit", "-qam", "change")
    told = "d2-x has changed since d2-x-v0.3.1: say what under '## X.Y.Z (unreleased)'"
    assert untold_changes(tmp_path, "d2-x") == told

    news = "# x\n\n## 0.3.2 (unreleased)\n\n- a is 2\n\n## 0.3.1 (2026-01-02)\n\n- x\n"
    (folder / "CHANGELOG.md").write_text(news)
    assert untold_changes(tmp_path, "d2-x") is None


def misfits(root: Path, package: str) -> list[str]:
    """The siblings that a package declares with a range that their version here is not in.

    A range has two ends, ``>=0.1,<0.3``, and leaves out the next version that may break.
    """
    siblings = {p.name for p in (root / "packages").iterdir()}
    found = []
    for dependency in project(root, package)["dependencies"]:
        name, bounds = re.match(r"([\w-]+)(.*)", dependency).groups()
        if name not in siblings:
            continue
        ends = re.fullmatch(r">=(\d+(?:\.\d+)*),<(\d+(?:\.\d+)*)", bounds)
        version = numbers(project(root, name)["version"])
        major, minor, _ = version
        breaking = (0, minor + 1, 0) if major == 0 else (major + 1, 0, 0)
        if ends is None or not numbers(ends[1]) <= version < numbers(ends[2]) <= breaking:
            found.append(dependency)
    return found


def numbers(version: str) -> tuple[int, ...]:
    parts = tuple(map(int, version.split(".")))
    return parts + (0,) * (3 - len(parts))


@pytest.mark.parametrize("package", PACKAGES)
def test_siblings_are_declared_with_ranges_that_hold_what_is_here(package):
    assert misfits(ROOT, package) == []


@pytest.mark.parametrize(
    ("bounds", "version", "fits"),
    [
        (">=0.1,<0.2", "0.1.0", True),
        (">=0.1,<0.3", "0.2.0", True),  # what a release that adds names makes of it
        (">=0.2,<0.3", "0.2.1", True),
        (">=1.1,<2", "1.4.0", True),
        (">=0.1,<0.2", "0.2.0", False),
        (">=0.2,<0.3", "0.1.9", False),
        (">=0.1,<0.3", "0.1.0", False),  # 0.2.0 may break, and nobody has tried it
        (">=0.1", "0.1.0", False),
        ("", "0.1.0", False),
    ],
)
def test_the_check_sees_a_range_that_leaves_the_sibling_out(tmp_path, bounds, version, fits):
    for name, number, needs in (("low", version, ""), ("high", "0.1.0", f'"d2-low{bounds}"')):
        folder = tmp_path / "packages" / f"d2-{name}"
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "d2-{name}"\nversion = "{number}"\ndependencies = [{needs}]\n'
        )
    assert misfits(tmp_path, "d2-high") == ([] if fits else [f"d2-low{bounds}"])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_changelog_has_an_entry_for_the_version(package):
    version = project(ROOT, package)["version"]
    changelog = (ROOT / "packages" / package / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(version)}\b", changelog, re.MULTILINE)
