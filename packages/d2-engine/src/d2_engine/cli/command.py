"""Arguments, errors and exit codes of the ``d2`` command."""

import argparse
import contextlib
import re
import sys
import traceback
from collections.abc import Sequence

from d2_engine.cli import environment, evaluate, predict, train, zoo
from d2_engine.cli.standard_output import OutputUntilClosed

_FAILURES = (ArithmeticError, ImportError, LookupError, OSError, TypeError, ValueError)
"""What bad input raises; anything else is a bug and shows its traceback."""

_WORKER_TRACEBACK = "Original Traceback (most recent call last):"
"""In the message of an error that a loading process met and torch brought here as text."""

_LAST_ERROR = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; by default those of the process.

    Returns:
        The exit code: 0, 1 if the work failed, 2 for a wrong command line, and 128 plus the
        number of the signal that ended training.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    # argparse fills the last positional argument before it meets an option and takes what
    # comes behind the option for unknown.
    more = getattr(args, "more", None)
    if rest and (more is None or any(argument.startswith("-") for argument in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if more is not None:
        getattr(args, more).extend(rest)
    try:
        with contextlib.redirect_stdout(OutputUntilClosed(sys.stdout)):
            code: int = args.run(args)
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"d2 {args.command}: interrupted", file=sys.stderr)
        return 130
    except _FAILURES as error:
        if args.debug:
            raise
        print(f"d2 {args.command}: error: {_message(error)}", file=sys.stderr)
        _let_go_of_frames(error)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="d2", description="Train, evaluate and use object detectors."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (train, evaluate, predict, zoo, environment):
        command = module.add_parser(commands)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _let_go_of_frames(error: BaseException | None) -> None:
    """Free what was in use when an error was raised.

    Else loading processes are found by the garbage collector much later, in an order in which
    each takes 5 seconds to end.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _message(error: BaseException) -> str:
    """What happened, and where in the config it did."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if text.startswith("Caught ") and _WORKER_TRACEBACK in text:
        text = _LAST_ERROR.split(text)[-1].strip()
    notes = getattr(error, "__notes__", [])
    return "\n  ".join([text or type(error).__name__, *notes])
