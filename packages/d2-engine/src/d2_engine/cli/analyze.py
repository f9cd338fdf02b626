"""``d2 analyze``."""

import argparse
import os
from typing import Any

from d2_engine.cli.run_arguments import add_config, run_arguments

_TASKS = ("parameter", "structure", "flop", "activation")

_NOTES = """
A multiply and an add are one flop. How many there are depends on what a model finds, so that an
image of noise, which --size draws, gives a rough figure; --images takes test images of CONFIG and
averages. Weights are random unless --weights gives others or CONFIG is a run.

examples:
  d2 analyze mask_rcnn_R_50_FPN_3x
  d2 analyze output/mine --task flop activation --images 20
  d2 analyze retinanet_R_50_FPN_1x --task flop --size 800 1216 --depth 4
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "analyze",
        usage="d2 analyze [options] CONFIG [key=value ...]",
        help="count parameters, multiply-adds and activations of a model, show its structure",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(
        parser, "a config file, the name of a packaged config, or the folder of a training run"
    )
    parser.add_argument(
        "--task",
        dest="tasks",
        action="extend",
        nargs="+",
        choices=_TASKS,
        metavar="TASK",
        help=f"of {', '.join(_TASKS)} (default: parameter)",
    )
    parser.add_argument(
        "--depth", type=int, default=3, metavar="N", help="of modules in tables (default: 3)"
    )
    inputs = parser.add_mutually_exclusive_group()
    inputs.add_argument("--images", type=int, metavar="N", help="count in so many test images")
    inputs.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(800, 1216),
        metavar=("HEIGHT", "WIDTH"),
        help="count in an image of noise (default: 800 1216)",
    )
    parser.set_defaults(run=run, more="words", usage_error=parser.error, output=None)
    return parser


def run(args: argparse.Namespace) -> int:
    """Analyze; returns the exit code."""
    if min(1 if args.images is None else args.images, args.depth, *args.size) < 1:
        args.usage_error("--images, --size and --depth are at least 1")
    from d2_engine.checkpoint import DetectionCheckpointer
    from d2_engine.run.analysis import analyze, drawn_image, images_of
    from d2_engine.run.model import build_model

    what = run_arguments(args)
    is_trained = bool(args.weights) or os.path.isdir(what.config)
    plan = what.plan(to_use=is_trained)
    model = build_model(plan)
    if is_trained:
        DetectionCheckpointer(model).load(plan.weights)
    tasks = list(dict.fromkeys(args.tasks or ["parameter"]))
    images = []
    if {"flop", "activation"} & set(tasks):
        channels = len(getattr(model, "pixel_mean", (0, 0, 0)))
        if args.images is None:
            height, width = args.size
            images = [drawn_image(height, width, channels)]
        else:
            images = images_of(plan, args.images)
    for text in analyze(model, tasks, images, depth=args.depth):
        print(f"\n{text}")
    return 0
