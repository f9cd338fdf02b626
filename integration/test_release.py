"""Releases of one package, in a temporary repository of two."""

import datetime
import shutil
import subprocess
from pathlib import Path

import pytest
import release

pytest.importorskip("griffe", reason="griffe, which compares public names, is not installed")
if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)

TODAY = datetime.date(2026, 2, 3)


def commit(root: Path, message: str) -> None:
    release.git(root, "add", ".")
    release.git(root, "commit", "-qm", message)


def reopen(root: Path) -> None:
    """Begin the changelog of the next version."""
    changelog = root / "packages" / "d2-low" / "CHANGELOG.md"
    changelog.write_text("# Changes\n\n## next (unreleased)\n\n- news\n\n" + changelog.read_text())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """d2-low 0.1.0, released, and d2-high, which needs it."""
    for name, needs in (("low", ""), ("high", '"d2-low>=0.1,<0.2"')):
        folder = tmp_path / "packages" / f"d2-{name}"
        source = folder / "src" / f"d2_{name}"
        source.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "d2-{name}"\nversion = "0.1.0"\ndependencies = [{needs}]\n'
        )
        (folder / "CHANGELOG.md").write_text("## 0.1.0 (unreleased)\n\n- first\n")
        (source / "__init__.py").write_text("def keep(a, b=1): ...\n\n\ndef go(a): ...\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for key, value in (("user.name", "test"), ("user.email", "test@test")):
        release.git(tmp_path, "config", key, value)
    commit(tmp_path, "first")
    assert release.release(tmp_path, "d2-low", "0.1.0", TODAY) == "d2-low-v0.1.0"
    return tmp_path


def change(root: Path, text: str) -> None:
    (root / "packages" / "d2-low" / "src" / "d2_low" / "__init__.py").write_text(text)
    reopen(root)
    commit(root, "change")


def needs_of_high(root: Path) -> str:
    return (root / "packages" / "d2-high" / "pyproject.toml").read_text().splitlines()[-1]


def test_a_release_dates_the_changelog_and_tags_a_commit(repository: Path) -> None:
    changelog = (repository / "packages" / "d2-low" / "CHANGELOG.md").read_text()
    assert changelog.startswith("## 0.1.0 (2026-02-03)")
    assert release.git(repository, "describe", "--tags") == "d2-low-v0.1.0"


@pytest.mark.parametrize(
    "text",
    ["def keep(a, b=1): ...\n", "def keep(a, b): ...\n\n\ndef go(a): ...\n"],
    ids=["a name removed", "a default removed"],
)
def test_what_breaks_callers_asks_for_the_next_minor(repository: Path, text: str) -> None:
    change(repository, text)
    with pytest.raises(release.ReleaseError, match=r"0\.1\.1 takes away .*Release 0\.2\.0"):
        release.release(repository, "d2-low", "0.1.1", TODAY)
    assert release.git(repository, "status", "--porcelain") == ""
    release.release(repository, "d2-low", "0.2.0", TODAY)
    assert needs_of_high(repository) == 'dependencies = ["d2-low>=0.2,<0.3"]'


def test_a_break_that_a_package_above_is_not_ready_for_is_refused(repository: Path) -> None:
    face = repository / "packages" / "d2-high" / "src" / "d2_high" / "__init__.py"
    face.write_text("from d2_low import go\n")
    change(repository, "def keep(a, b=1): ...\n")
    with pytest.raises(
        release.ReleaseError, match=r"d2-high takes d2_low\.go, which d2-low has no"
    ):
        release.release(repository, "d2-low", "0.2.0", TODAY)
    face.write_text("from d2_low import keep\n")
    commit(repository, "keep up")
    release.release(repository, "d2-low", "0.2.0", TODAY)
    assert needs_of_high(repository) == 'dependencies = ["d2-low>=0.2,<0.3"]'


def test_what_is_added_widens_the_ranges_above(repository: Path) -> None:
    change(repository, "def keep(a, b=1): ...\n\n\ndef go(a): ...\n\n\ndef more(): ...\n")
    release.release(repository, "d2-low", "0.2.0", TODAY)
    assert needs_of_high(repository) == 'dependencies = ["d2-low>=0.1,<0.3"]'


def test_a_release_can_be_undone(repository: Path) -> None:
    before = release.git(repository, "rev-parse", "HEAD~1")
    assert release.undo(repository) == "d2-low-v0.1.0"
    assert release.git(repository, "rev-parse", "HEAD") == before
    assert release.git(repository, "tag") == ""
    with pytest.raises(release.ReleaseError, match="the last commit is no release but 'first'"):
        release.undo(repository)


def test_an_undone_release_must_not_have_been_pushed(repository: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    release.git(repository, "remote", "add", "origin", str(remote))
    release.git(repository, "push", "-q", "origin", "HEAD")
    with pytest.raises(release.ReleaseError, match="on a remote branch"):
        release.undo(repository)


@pytest.mark.parametrize(
    ("package", "version", "message"),
    [
        ("d2-none", "0.2.0", "there is no package d2-none; there are d2-high, d2-low"),
        ("d2-low", "0.1.0", r"0\.1\.0 is released"),
        ("d2-low", "0.0.9", r"0\.1\.0 is released; 0\.0\.9 is not later"),
        ("d2-low", "two", "'two' is no version"),
        ("d2-low", "0.2.0rc1", "'0.2.0rc1' is no version"),
        ("d2-low", "0.02.0", "'0.02.0' is no version"),
        ("d2-low", "0.1.1", "d2-low/CHANGELOG.md has no .*unreleased"),
    ],
)
def test_what_must_not_be_released_is_said(
    repository: Path, package: str, version: str, message: str
) -> None:
    with pytest.raises(release.ReleaseError, match=message):
        release.release(repository, package, version, TODAY)


def test_changes_that_are_not_committed_stop_a_release(repository: Path) -> None:
    reopen(repository)
    with pytest.raises(release.ReleaseError, match="commit or stash"):
        release.release(repository, "d2-low", "0.1.1", TODAY)


def test_a_changelog_that_says_nothing_stops_a_release(repository: Path) -> None:
    reopen(repository)
    changelog = repository / "packages" / "d2-low" / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("- news\n", ""))
    commit(repository, "begin")
    with pytest.raises(release.ReleaseError, match="or nothing under it"):
        release.release(repository, "d2-low", "0.1.1", TODAY)


def test_tags_of_other_forms_are_no_releases(repository: Path) -> None:
    release.git(repository, "tag", "d2-low-v0.3.0rc1")
    assert release.releases(repository, "d2-low") == {(0, 1, 0): "d2-low-v0.1.0"}


@pytest.mark.parametrize("hook", ["pre-commit", "reference-transaction"])
def test_what_git_refuses_is_said_and_leaves_nothing_changed(repository: Path, hook: str) -> None:
    """A hook against the commit, and one against the tag after it."""
    reopen(repository)
    commit(repository, "begin")
    before = release.git(repository, "rev-parse", "HEAD")
    script = repository / ".git" / "hooks" / hook
    script.parent.mkdir(exist_ok=True)
    refuse = "echo no >&2; exit 1"
    only_tags = f"case $(cat) in *refs/tags*) {refuse} ;; esac"
    script.write_text(f"#!/bin/sh\n{refuse if hook == 'pre-commit' else only_tags}\n")
    script.chmod(0o755)
    with pytest.raises(release.ReleaseError, match=r"git (commit|tag) failed: .*no"):
        release.release(repository, "d2-low", "0.1.1", TODAY)
    assert release.git(repository, "rev-parse", "HEAD") == before
    assert release.git(repository, "status", "--porcelain") == ""
    assert release.git(repository, "tag") == "d2-low-v0.1.0"


def test_a_release_whose_tag_alone_was_pushed_must_not_be_undone(
    repository: Path, tmp_path: Path
) -> None:
    """The tag is what publishes."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    release.git(repository, "remote", "add", "origin", str(remote))
    release.git(repository, "push", "-q", "origin", "d2-low-v0.1.0")
    with pytest.raises(release.ReleaseError, match=r"d2-low-v0\.1\.0 has been pushed to origin"):
        release.undo(repository)
    shutil.rmtree(remote)
    with pytest.raises(release.ReleaseError, match="git ls-remote failed"):
        release.undo(repository)
    assert release.git(repository, "tag") == "d2-low-v0.1.0"


def test_an_undo_that_git_refuses_keeps_the_tag(repository: Path) -> None:
    reopen(repository)
    with pytest.raises(release.ReleaseError, match=r"git reset failed: .*CHANGELOG\.md"):
        release.undo(repository)
    assert release.git(repository, "describe", "--tags") == "d2-low-v0.1.0"


def test_a_commit_that_is_only_called_a_release_is_not_undone(repository: Path) -> None:
    reopen(repository)
    commit(repository, "Release d2-low 0.1.1")
    with pytest.raises(release.ReleaseError, match=r"the last commit has no tag d2-low-v0\.1\.1"):
        release.undo(repository)
