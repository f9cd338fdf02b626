"""Arguments, errors and exit codes of the ``d2`` command."""

import argparse
import contextlib
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from d2_engine.cli import (
    analyze,
    benchmark,
    check,
    data,
    environment,
    evaluate,
    export,
    migrate,
    predict,
    train,
    zoo,
)
from d2_engine.cli.standard_output import OutputUntilClosed

_COMMANDS = {
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "export": export,
    "benchmark": benchmark,
    "analyze": analyze,
    "check": check,
    "data": data,
    "zoo": zoo,
    "migrate": migrate,
    "env": environment,
}

_FAILURES = (
    ArithmeticError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
)
"""What bad input and a bad day raise; anything else is a bug and shows its traceback."""

_OUT_OF_DEVICE_MEMORY = "OutOfMemoryError"
"""torch's, known by its name: this module does without torch."""

_WORKER_TRACEBACK = "Original Traceback (most recent call last):"
"""In the message of an error that a loading process met and torch brought here as text."""

_LAST_ERROR = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)

_REMEDY = (
    "make batches smaller (SOLVER.IMS_PER_BATCH, dataloader.train.total_batch_size) or images "
    "(INPUT.MIN_SIZE_TRAIN, the mapper's augmentations)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; by default those of the process.

    Returns:
        The exit code: 0, 1 if the work failed, 2 for a wrong command line, and 128 plus the
        number of the signal that ended training.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _parsers()
    if not arguments:
        parser.print_help()
        return 0
    if not arguments[0].startswith("-") and arguments[0] not in commands:
        hint = _did_you_mean(arguments[0], commands)
        parser.error(f"there is no command {arguments[0]!r}{hint or '; see d2 --help'}")
    args = _parsed(parser, commands, arguments)
    try:
        with contextlib.redirect_stdout(OutputUntilClosed(sys.stdout)):
            code: int = args.run(args)
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"d2 {args.command}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug or not _is_failure(error):
            raise
        print(f"d2 {args.command}: error: {_message(error)}", file=sys.stderr)
        _let_go_of_frames(error)
        return 1
    return code


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="d2",
        description="Train, evaluate and use object detectors.",
        epilog="d2 COMMAND --help shows the options of a command.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28),
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version")
    group = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = {name: module.add_parser(group) for name, module in _COMMANDS.items()}
    for command in commands.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, commands


class _ShowVersion(argparse.Action):
    """Print the version and end; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from importlib.metadata import version

        print(f"d2-engine {version('d2-engine')}")
        parser.exit()


def _parsed(
    parser: argparse.ArgumentParser,
    commands: dict[str, argparse.ArgumentParser],
    arguments: Sequence[str],
) -> argparse.Namespace:
    args, rest = parser.parse_known_args(arguments)
    # argparse fills the last positional argument before it meets an option and takes what
    # comes behind the option for unknown.
    more = getattr(args, "more", None)
    unknown = [word for word in rest if more is None or word.startswith("-")]
    if unknown:
        command = commands[args.command]
        hint = _did_you_mean(unknown[0].partition("=")[0], _options_of(command))
        command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if more is not None:
        getattr(args, more).extend(rest)
    return args


def _options_of(command: argparse.ArgumentParser) -> set[str]:
    return set(re.findall(r"(?<!\S)--[\w-]+", command.format_help()))


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=2)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""


def _is_failure(error: Exception) -> bool:
    return isinstance(error, _FAILURES) or type(error).__name__ == _OUT_OF_DEVICE_MEMORY


def _let_go_of_frames(error: BaseException | None) -> None:
    """Free what was in use when an error was raised.

    Else loading processes are found by the garbage collector much later, in an order in which
    each takes 5 seconds to end.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error may be its own cause
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _message(error: BaseException) -> str:
    """What happened, and where in the config it did."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if text.startswith("Caught ") and _WORKER_TRACEBACK in text:
        text = _LAST_ERROR.split(text)[-1].strip()
    if isinstance(error, MemoryError) or type(error).__name__ == _OUT_OF_DEVICE_MEMORY:
        text = f"memory ran out ({text.partition('. ')[0] or 'of the CPU'}): {_REMEDY}"
    notes = getattr(error, "__notes__", [])
    return "\n  ".join([text or type(error).__name__, *notes])
