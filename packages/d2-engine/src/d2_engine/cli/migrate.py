"""``d2 migrate``."""

import argparse
import difflib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2_engine.migrate import Migrated

_NOTES = """
Imports of detectron2, fvcore and iopath in Python files and notebooks, what they bind, and names in
_target_ and in strings become those of d2; comments, formatting and outputs stay. The changes are
shown as a diff. What a human has to look at is listed behind it, with file and line.

The exit code is 0 if nothing is left, neither a change that --write would make nor anything for a
human, and else 1.

examples:
  d2 migrate .                  show what would change
  d2 migrate . --write          change it
  d2 migrate train_net.py > migration.patch
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "migrate",
        help="rewrite code and configs that name detectron2",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    parser.add_argument("--write", action="store_true", help="change the files")
    parser.add_argument("--quiet", action="store_true", help="show no diff")
    parser.set_defaults(run=run, more="paths")
    return parser


def run(args: argparse.Namespace) -> int:
    """Migrate; returns the exit code, 1 if something is left."""
    from d2_engine.migrate import migrate_tree

    migrated = [file for path in args.paths for file in migrate_tree(path)]
    changed = [file for file in migrated if file.is_changed]
    if not args.quiet:
        for file in changed:
            sys.stdout.write(_diff(file))
    if args.write:
        _write(changed)
    findings = [(file, finding) for file in migrated for finding in file.findings]
    for file, (line, what, why) in findings:
        print(f"{file.path}:{line}: {what}: {why}", file=sys.stderr)
    done = "changed" if args.write else "would change"
    print(f"{len(changed)} files {done}, {len(findings)} places for a human", file=sys.stderr)
    return int(bool(findings) or bool(changed and not args.write))


def _diff(file: "Migrated") -> str:
    name = file.path.as_posix().lstrip("/")
    before, after = (
        content.decode("utf-8", "replace").splitlines(keepends=True)
        for content in (file.before, file.after)
    )
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    no_newline = "\n\\ No newline at end of file\n"
    return "".join(line if line.endswith("\n") else line + no_newline for line in lines)


def _write(changed: list["Migrated"]) -> None:
    from d2_config.files import write_atomically

    for file in changed:
        mode = file.path.stat().st_mode
        if file.path.read_bytes() != file.before:
            raise OSError(f"{file.path} was changed meanwhile: run the command again")
        write_atomically(file.path, file.after)
        file.path.chmod(mode)
