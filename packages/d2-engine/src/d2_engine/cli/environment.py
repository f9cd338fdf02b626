"""``d2 env``."""

import argparse
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "env", help="show versions, the kernels found, and whether CUDA is there"
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the environment; returns the exit code."""
    from d2_engine.environment import collect_environment, format_environment

    print(format_environment(collect_environment()))
    return 0
