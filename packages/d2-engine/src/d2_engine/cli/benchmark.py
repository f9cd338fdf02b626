"""``d2 benchmark``."""

import argparse
from typing import Any

from d2_engine.cli.run_arguments import add_config, run_arguments

_NOTES = """
Data is loaded as fast as it comes; the model then trains on a few batches, and detects in test
images. The weights are random unless --weights gives others or CONFIG is a run, and change nothing.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "benchmark",
        usage="d2 benchmark [options] CONFIG [key=value ...]",
        help="time data, forward pass, backward pass and evaluation apart",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(
        parser, "a config file, the name of a packaged config, or the folder of a training run"
    )
    parser.add_argument(
        "--iterations",
        type=int,
        default=20,
        metavar="N",
        help="of each part, after the first three (default: 20)",
    )
    parser.set_defaults(run=run, more="words", usage_error=parser.error, output=None)
    return parser


def run(args: argparse.Namespace) -> int:
    """Time; returns the exit code."""
    import os

    from d2_engine.run.benchmark import benchmark, stage_table

    what = run_arguments(args)
    plan = what.plan()
    weights = plan.weights if args.weights or os.path.isdir(what.config) else ""
    stages = benchmark(plan, args.iterations, weights=weights)
    print(f"\n{stage_table(stages)}")
    if memory := _peak_memory():
        print(f"\n{memory}")
    return 0


def _peak_memory() -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    peak = torch.cuda.max_memory_allocated() / 2**30
    return f"{peak:.1f} GiB of the GPU's memory were in use at most" if peak else ""
