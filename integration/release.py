"""Release one package: ``nox -s release -- d2-ops 0.2.0``, undone by ``nox -s release -- undo``.

Nothing leaves the machine: a release is a commit and a tag, until somebody pushes them.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
Version = tuple[int, int, int]


class ReleaseError(Exception):
    """A release that must not be made, with the reason and the remedy."""


def release(root: Path, package: str, version: str, today: datetime.date) -> str:
    """Check, raise the version, date the changelog, fit the ranges above, commit and tag.

    Args:
        root: of the repository.
        package: its name, such as ``d2-ops``.
        version: to release, ``0.2.0``.
        today: the date in the changelog.

    Returns:
        The tag.

    Raises:
        ReleaseError: if the package, the version, the tree or the public API does not allow it.
    """
    wanted = parse(version)
    project = root / "packages" / package / "pyproject.toml"
    if not project.exists():
        known = sorted(p.name for p in (root / "packages").iterdir())
        raise ReleaseError(f"there is no package {package}; there are {', '.join(known)}")
    if git(root, "status", "--porcelain"):
        raise ReleaseError("files are changed and not committed: commit or stash them first")
    tag = f"{package}-v{version}"
    last = last_release(root, package)
    breaks: list[str] = []
    if last is not None:
        if wanted <= last:
            raise ReleaseError(f"{package} {dotted(last)} is released; {version} is not later")
        breaks = breaking_changes(root, package, f"{package}-v{dotted(last)}")
        if breaks and not is_breaking_step(last, wanted):
            raise ReleaseError(
                f"{package} {version} takes away what {dotted(last)} has: {'; '.join(breaks)}. "
                f"Release {dotted(next_breaking(last))}, or bring it back"
            )
        _check_packages_above(root, package)
    _date_changelog(root / "packages" / package / "CHANGELOG.md", version, today)
    _replace(project, r'(?m)^version = "[^"]+"', f'version = "{version}"')
    for other in sorted((root / "packages").glob("*/pyproject.toml")):
        _fit_range(other, package, wanted, breaking=bool(breaks))
    before = git(root, "rev-parse", "HEAD")
    try:
        git(root, "commit", "-qam", f"Release {package} {version}")
        git(root, "tag", "-a", tag, "-m", f"{package} {version}")
    except ReleaseError:
        git(root, "reset", "-q", "--hard", before)  # nothing else was changed
        raise
    return tag


def undo(root: Path) -> str:
    """Take back the release that the last commit is.

    Returns:
        The tag that is gone.

    Raises:
        ReleaseError: if the last commit is no release, or it or its tag has been pushed, or nobody
            can say so; or if it changes a file that has changes.
    """
    subject = git(root, "log", "-1", "--format=%s")
    match = re.fullmatch(r"Release (\S+) (\S+)", subject)
    if match is None:
        raise ReleaseError(f"the last commit is no release but {subject!r}")
    if git(root, "branch", "--remotes", "--contains", "HEAD"):
        raise ReleaseError("the release is on a remote branch: make another instead")
    tag = f"{match[1]}-v{match[2]}"
    if f"refs/tags/{tag}" not in git(root, "for-each-ref", "--points-at=HEAD").split():
        raise ReleaseError(f"the last commit has no tag {tag}: git reset --keep HEAD~1 removes it")
    for remote in git(root, "remote").split():
        if git(root, "ls-remote", "--tags", remote, tag):
            raise ReleaseError(f"{tag} has been pushed to {remote}: make another release instead")
    git(root, "reset", "-q", "--keep", "HEAD~1")  # first, since it may refuse
    git(root, "tag", "-d", tag)
    return tag


def breaking_changes(root: Path, package: str, tag: str) -> list[str]:
    """What the public API of a package has lost or narrowed since a tag, one sentence each."""
    import griffe

    module = package.replace("-", "_")
    source = f"packages/{package}/src"
    old = griffe.load_git(module, ref=tag, repo=root, search_paths=[source], allow_inspection=False)
    new = griffe.load(module, search_paths=[str(root / source)], allow_inspection=False)
    found = griffe.find_breaking_changes(old, new)
    return [f"{change.obj.path}: {change.kind.value}" for change in found]


def last_release(root: Path, package: str) -> Version | None:
    """The latest version of a package that has a tag."""
    return max(releases(root, package), default=None)


def releases(root: Path, package: str) -> dict[Version, str]:
    """Every version of a package that has a tag, and the tag; others are none of ours."""
    tags = git(root, "tag", "--list", f"{package}-v*").split()
    numbers = {tag: tag.removeprefix(f"{package}-v") for tag in tags}
    return {parse(number): tag for tag, number in numbers.items() if VERSION.fullmatch(number)}


def parse(version: str) -> Version:
    """The three numbers of a version."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise ReleaseError(f"{version!r} is no version: three numbers are wanted, such as 0.2.0")
    return int(match[1]), int(match[2]), int(match[3])


def dotted(version: Version) -> str:
    """A version as text."""
    return ".".join(map(str, version))


def is_breaking_step(old: Version, new: Version) -> bool:
    """Whether ``new`` may take away names of ``old``: the next minor below 1.0, else major."""
    return new[0] > old[0] or (old[0] == 0 and new[1] > old[1])


def next_breaking(old: Version) -> Version:
    """The first version after ``old`` that may take away names."""
    return (0, old[1] + 1, 0) if old[0] == 0 else (old[0] + 1, 0, 0)


def git(root: Path, *args: str) -> str:
    """What git prints.

    Raises:
        ReleaseError: if git fails, with what it says.
    """
    command = ["git", "-C", str(root), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = " ".join((done.stderr or done.stdout).split())
        raise ReleaseError(f"git {args[0]} failed: {told}")
    return done.stdout.strip()


def _check_packages_above(root: Path, package: str) -> None:
    """Refuse where one would get a range whose versions lack what it takes from the package."""
    from mixed import lacking, ranges, taken

    for other in sorted(p.name for p in (root / "packages").iterdir()):
        if package in (name for name, _, _ in ranges(root, other)):
            lacks = lacking(root, taken(root / "packages" / other / "src"), package, None)
            if lacks:
                raise ReleaseError(
                    f"{other} takes {', '.join(lacks)}, which {package} has no more: change "
                    f"{other} first, or bring it back"
                )


def _replace(file: Path, pattern: str, text: str) -> None:
    file.write_text(re.sub(pattern, text, file.read_text(), count=1))


def _date_changelog(changelog: Path, version: str, today: datetime.date) -> None:
    heading = r"(?m)^## \S+ \(unreleased\)$"
    _, *news = re.split(heading, changelog.read_text(), maxsplit=1)
    if not news or not re.split(r"(?m)^## ", news[0])[0].strip():
        raise ReleaseError(
            f"{changelog.parent.name}/{changelog.name} has no '## X.Y.Z (unreleased)', or nothing "
            "under it: say what is new"
        )
    _replace(changelog, heading, f"## {version} ({today.isoformat()})")


def _fit_range(project: Path, package: str, version: Version, *, breaking: bool) -> None:
    """Let a package that needs ``package`` take the new version; after a break, nothing older."""
    found = re.search(rf'"{package}>=([\d.]+),<([\d.]+)"', project.read_text())
    if found is None:
        return
    lower = f"{version[0]}.{version[1]}" if breaking else found[1]
    upper = ".".join(map(str, next_breaking(version)[:2]))
    project.write_text(project.read_text().replace(found[0], f'"{package}>={lower},<{upper}"'))


def main() -> int:
    """Make or undo a release; 1 with the reason where it must not be."""
    parser = argparse.ArgumentParser(prog="release")
    parser.add_argument("package", help="such as d2-ops, or undo")
    parser.add_argument("version", nargs="?", default="", help="such as 0.2.0")
    options = parser.parse_args()
    try:
        if options.package == "undo":
            print(f"took back {undo(ROOT)}")
        else:
            today = datetime.datetime.now(tz=datetime.UTC).date()
            tag = release(ROOT, options.package, options.version, today)
            print(f"{tag} is made here; git push origin HEAD {tag} publishes it,")
            print("nox -s release -- undo takes it back")
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
