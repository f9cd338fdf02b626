"""``d2 check``."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2_engine.file_checks import CheckedFile

_NOTES = """
Of a checkpoint that d2 saved every byte is compared with the checksum that it carries, of other
torch files every part with that of the zip format. Configs, metrics, predictions, event files and
pictures are read to their end. Nothing in a file is executed.

The exit code is 1 if anything is damaged or missing.

examples:
  d2 check output/mine
  d2 check output/mine/model_final.pth backbone.safetensors
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="verify checkpoints, or everything in the folder of a run",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="FILE|RUN", help="files, and folders of runs")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run, more="paths")
    return parser


def run(args: argparse.Namespace) -> int:
    """Check; returns the exit code, 1 if something is damaged."""
    from d2_engine.file_checks import check_file
    from d2_engine.run.checking import check_run

    checked: list[CheckedFile] = []
    for path in map(Path, args.paths):
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
        checked += check_run(path) if path.is_dir() else [check_file(path)]
    if args.json:
        print(json.dumps([{**file._asdict(), "path": str(file.path)} for file in checked]))
    else:
        _print_table(checked)
    return int(any(file.problem for file in checked))


def _print_table(checked: "list[CheckedFile]") -> None:
    columns = [
        ["", *("DAMAGED" if file.problem else "ok" for file in checked)],
        ["file", *(str(file.path) for file in checked)],
        ["content", *(file.kind for file in checked)],
    ]
    widths = [max(map(len, column)) for column in columns]
    last = ["", *(file.problem or file.found for file in checked)]
    for *texts, text in zip(*columns, last, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(texts, widths, strict=True)]
        print("  ".join([*cells, text]).rstrip())
    problems = sum(bool(file.problem) for file in checked)
    print(f"\n{len(checked)} files, {problems} damaged or missing")
