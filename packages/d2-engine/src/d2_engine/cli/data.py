"""``d2 data``."""

import argparse
from typing import Any

from d2_engine.cli import data_check, data_convert, data_prepare, data_show

_COMMANDS = {
    "check": data_check,
    "show": data_show,
    "convert": data_convert,
    "prepare": data_prepare,
}


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command and its own sub-commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data",
        help="check, show, prepare and convert datasets",
        epilog="d2 data COMMAND --help shows the options of a command.",
    )
    group = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for module in _COMMANDS.values():
        command = module.add_parser(group)
        # Accepted behind the inner command as behind others; without a default, so that it does
        # not undo one given before.
        command.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )
    return parser
