"""``d2 train``."""

import argparse
import os
import sys
from typing import Any

from d2_engine.cli.run_arguments import (
    RunArguments,
    add_config,
    add_processes,
    launch_with,
    print_results,
    run_arguments,
)

_EXAMPLES = """
examples:
  d2 train quickstart/mask_rcnn_shapes.py
  d2 train mask_rcnn_R_50_FPN_3x --output output/mine \\
      data.train.json=train.json data.train.images=train/ \\
      data.val.json=val.json data.val.images=val/ SOLVER.IMS_PER_BATCH=2
  d2 train my_config.py --import my_datasets --num-gpus 8
  d2 train my_config.py --output output/mine --resume
"""

OFTEN_CHANGED = (
    ("train.max_iter", "SOLVER.MAX_ITER", "iterations"),
    ("dataloader.train.total_batch_size", "SOLVER.IMS_PER_BATCH", "images in a batch"),
    ("optimizer.lr", "SOLVER.BASE_LR", "learning rate"),
    ("train.eval_period", "TEST.EVAL_PERIOD", "0: at the end only"),
    ("train.seed", "SEED", "-1 draws one"),
    ("train.device", "MODEL.DEVICE", "cpu, cuda or auto"),
)
"""Names in lazy and in yacs-style configs, and what they mean."""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        usage="d2 train [options] CONFIG [key=value ...]",
        help="train a detector, evaluate it and show what it sees",
        epilog=f"{_options()}{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser, "a config file, or the name of a packaged config (see d2 zoo --all)")
    parser.add_argument(
        "--output", metavar="DIR", help="the run's folder (train.output_dir, OUTPUT_DIR)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the folder's last checkpoint"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate the weights instead, as d2 eval does"
    )
    add_processes(parser)
    parser.set_defaults(run=run, more="words", usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    from d2_engine.cli.evaluate import evaluate_in_process
    from d2_engine.interruption import StoppedAtOnceError, TrainingInterrupted

    what = run_arguments(args)
    try:
        if args.eval_only:
            launch_with(args, evaluate_in_process, (what, False, args.stall_timeout))
        else:
            launch_with(args, _train, (what, args.resume, args.stall_timeout))
    except TrainingInterrupted as interrupted:
        if os.environ.get("RANK", "0") == "0":  # of torchrun, which starts each process by itself
            notes = getattr(interrupted, "__notes__", [])
            print(": ".join([str(interrupted), *notes]), file=sys.stderr)
        return interrupted.exit_code
    except StoppedAtOnceError as stopped:
        print(f"d2 train: {stopped}", file=sys.stderr)
        return stopped.exit_code
    return 0


def _train(what: RunArguments, resume: bool, stall_timeout: float) -> None:
    """Train, in one of maybe several processes, and tell what came of it in the main one."""
    from d2_engine.interruption import TrainingInterrupted
    from d2_engine.run import modules_to_trust, train
    from d2_structures import comm

    plan = what.plan()
    try:
        results = train(plan, resume=resume, stall_timeout=stall_timeout)
    except TrainingInterrupted as interrupted:
        # Whichever process got the signal, it is told where the processes were started.
        interrupted.add_note(
            f"the checkpoint is in {plan.output_dir}; continue with the same command and --resume"
        )
        raise
    if comm.is_main_process():
        folder = plan.output_dir
        trust = modules_to_trust(folder)
        print_results(
            results,
            folder,
            [
                (
                    what.command("predict", "PICTURES", "--run", folder, trust=trust),
                    "shows what it sees",
                ),
                (what.command("eval", folder, trust=trust), "evaluates it again"),
            ],
        )


def _options() -> str:
    """What is changed most often, and the options of a run with their defaults."""
    import attrs

    from d2_engine.run_options import RunOptions

    often = [f"  {lazy:<35}{yacs:<22}{text}" for lazy, yacs, text in OFTEN_CHANGED]
    lines = ["changed most often, in lazy configs and in YAML:", *often, ""]
    lines.append("options of a run with their defaults; in YAML as RUN.EMA_DECAY=0.0:")
    for field in attrs.fields(RunOptions):
        name = f"  train.{field.name}={_shown(field.default)}"
        lines += _beside(name, field.metadata["help"])
    return "\n".join([*lines, ""])


def _beside(name: str, text: str) -> list[str]:
    """Lines with a text in a column of its own, as argparse has them."""
    import shutil
    import textwrap

    column = 41
    width = max(shutil.get_terminal_size().columns - 2, column + 20)
    return textwrap.wrap(
        text, width, initial_indent=name.ljust(column), subsequent_indent=" " * column
    )


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
