"""A second version of d2-ops, in a temporary clone, that lacks what the packages above need."""

import re
import shutil
import subprocess
from pathlib import Path

import mixed
import pytest
import release

ROOT = Path(__file__).parents[1]
if shutil.which("git") is None or not (ROOT / ".git").exists():
    pytest.skip("this is not a git checkout", allow_module_level=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is committed here, with the present d2-ops released."""
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-tags", str(ROOT), str(root)], check=True)
    for key, value in (("user.name", "test"), ("user.email", "test@test")):
        release.git(root, "config", key, value)
    release.git(root, "tag", "-am", "released", f"d2-ops-v{version_of(root)}")
    return root


def version_of(root: Path) -> str:
    text = (root / "packages" / "d2-ops" / "pyproject.toml").read_text()
    return re.search(r'(?m)^version = "(.*)"', text)[1]


def set_version(root: Path, version: str) -> None:
    file = root / "packages" / "d2-ops" / "pyproject.toml"
    file.write_text(re.sub(r'(?m)^version = ".*"', f'version = "{version}"', file.read_text()))


def remove_nms(root: Path) -> None:
    face = root / "packages" / "d2-ops" / "src" / "d2_ops" / "__init__.py"
    text = face.read_text().replace('    "nms",\n', "").replace('"nms": "_nms",', "")
    face.write_text(re.sub(r"\bnms,\s+", "", text))


def widen(root: Path, upper: str) -> None:
    """Let every package take d2-ops up to a version, whatever it has lost."""
    for project in (root / "packages").glob("*/pyproject.toml"):
        text = project.read_text()
        project.write_text(re.sub(r'"d2-ops>=([\d.]+),<[\d.]+"', rf'"d2-ops>=\1,<{upper}"', text))


def lacks(root: Path, package: str) -> dict[str, list[str]]:
    """What each version of d2-ops lacks that a package may be installed beside."""
    found = mixed.misfits(root, [package])
    return {other.split()[1]: names for _, other, names in found if other.startswith("d2-ops ")}


def test_what_stands_here_fits_together() -> None:
    pairs = list(mixed.misfits(ROOT))
    assert {("d2-structures", "d2-ops"), ("d2-engine", "d2-eval")} <= {
        (package, other.split()[0]) for package, other, _ in pairs
    }
    assert [pair for pair in pairs if pair[2]] == []


def test_a_removed_function_is_seen_where_a_range_lets_it_in(clone: Path) -> None:
    first = version_of(clone)
    second = release.dotted(release.next_breaking(release.parse(first)))
    remove_nms(clone)
    set_version(clone, second)
    assert lacks(clone, "d2-modeling") == {first: []}
    widen(clone, "9")
    assert lacks(clone, "d2-modeling") == {first: [], second: ["d2_ops.nms"]}


def test_a_function_is_missed_that_is_taken_from_an_imported_module(clone: Path) -> None:
    first = version_of(clone)
    second = release.dotted(release.next_breaking(release.parse(first)))
    face = clone / "packages" / "d2-ops" / "src" / "d2_ops" / "host" / "__init__.py"
    face.write_text(face.read_text().replace('    "rle_encode",\n', ""))
    set_version(clone, second)
    widen(clone, "9")
    assert lacks(clone, "d2-structures") == {first: [], second: ["d2_ops.host.rle_encode"]}


def test_attributes_are_looked_for_in_modules_alone(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "import d2_ops\nimport d2_structures.visualizer as pictures\n"
        "from d2_ops import host\n\ndef run(other):\n"
        "    d2_ops.host.rle_decode(host.one)\n"
        "    return pictures.draw, other.more, d2_ops.__name__\n"
    )
    found = mixed.taken(tmp_path)
    assert found.imported == {("d2_structures", "visualizer"), ("d2_ops", "host")}
    assert found.attributes == {
        ("d2_ops", "host"),
        ("d2_ops.host", "rle_decode"),
        ("d2_ops.host", "one"),
        ("d2_structures.visualizer", "draw"),
    }
    ours = mixed.Names(set(), {("d2_ops.nms", "is_a_function"), ("d2_ops.host", "is_not_there")})
    assert mixed.lacking(ROOT, ours, "d2-ops", None) == ["d2_ops.host.is_not_there"]


def test_a_name_that_came_later_is_missed_in_the_oldest_version(clone: Path) -> None:
    first = version_of(clone)
    face = clone / "packages" / "d2-structures" / "src" / "d2_structures" / "__init__.py"
    face.write_text(face.read_text() + "\nfrom d2_ops import not_there_yet\n")
    assert lacks(clone, "d2-structures") == {first: ["d2_ops.not_there_yet"]}


def test_the_same_removal_is_refused_as_a_patch_release(clone: Path) -> None:
    pytest.importorskip("griffe", reason="griffe, which compares public names, is not installed")
    remove_nms(clone)
    release.git(clone, "commit", "-qam", "remove nms")
    major, minor, patch = release.parse(version_of(clone))
    with pytest.raises(release.ReleaseError, match=r"takes away .*d2_ops\.nms"):
        release.release(clone, "d2-ops", f"{major}.{minor}.{patch + 1}", None)
