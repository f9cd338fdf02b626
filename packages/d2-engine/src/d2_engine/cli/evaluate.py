"""``d2 eval``."""

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from d2_engine.cli.run_arguments import (
    RunArguments,
    add_config,
    add_processes,
    launch_with,
    print_results,
    run_arguments,
)

_TASKS = ("bbox", "segm", "keypoints")

_EXAMPLES = """
examples:
  d2 eval output/mine
  d2 eval COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml
  d2 eval my_config.yaml --weights model.pth data.val.json=val.json data.val.images=val/
  d2 eval --predictions results.json --gt instances.json --task bbox segm
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "eval",
        usage="d2 eval [options] CONFIG [key=value ...]\n"
        "       d2 eval --predictions FILE --gt FILE [--task TASK ...] [--json]",
        help="evaluate trained weights, or a file of predictions",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(
        parser, "the folder of a training run, a config file, or the name of a packaged config"
    )
    parser.add_argument("--output", metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--json", action="store_true", help="print the results as JSON, and nothing else"
    )
    add_processes(parser)
    files = parser.add_argument_group(
        "predictions of any system", "compared with annotations, without config and model"
    )
    files.add_argument(
        "--predictions", metavar="FILE", help="COCO's result format: a list of detections"
    )
    files.add_argument("--gt", metavar="FILE", help="the annotations, in COCO's format")
    files.add_argument(
        "--task",
        nargs="+",
        choices=_TASKS,
        default=[],
        help="of bbox, segm, keypoints (default: what the predictions have)",
    )
    files.add_argument(
        "--oks-sigmas",
        nargs="+",
        type=float,
        default=[],
        metavar="S",
        help="of each keypoint, where they are not those of COCO's persons",
    )
    parser.set_defaults(run=run, more="words", usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns the exit code."""
    if args.predictions or args.gt:
        return _run_on_files(args)
    for option in ("task", "oks_sigmas"):
        if getattr(args, option):
            args.usage_error(f"--{option.replace('_', '-')} is for --predictions FILE --gt FILE")
    launch_with(args, evaluate_in_process, (run_arguments(args), args.json, args.stall_timeout))
    return 0


def evaluate_in_process(what: RunArguments, as_json: bool, stall_timeout: float) -> None:
    """Evaluate, in one of maybe several processes, and print the results in the main one."""
    from d2_engine.run import evaluate
    from d2_structures import comm

    with _logs_elsewhere() if as_json else contextlib.nullcontext():
        plan = what.plan(to_use=True)
        results = evaluate(plan, report=True, stall_timeout=stall_timeout)
    if not comm.is_main_process():
        return
    if as_json:
        _print_json(results)
    else:
        print_results(results, plan.output_dir)


def _run_on_files(args: argparse.Namespace) -> int:
    from d2_eval import evaluate_coco_files
    from d2_eval.report import results_table

    if args.words or args.config_file:
        args.usage_error("--predictions and --gt need no config")
    for option, given in (("--predictions", args.predictions), ("--gt", args.gt)):
        if not given:
            args.usage_error(f"{option} FILE is missing")
    results = evaluate_coco_files(
        args.predictions, args.gt, args.task or None, kpt_oks_sigmas=args.oks_sigmas
    )
    if args.json:
        _print_json(results)
    else:
        print(results_table(results))
    return 0


@contextlib.contextmanager
def _logs_elsewhere() -> Any:
    """Let what is logged and printed go to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _print_json(results: Any) -> None:
    print(json.dumps(_plain(results), indent=2))
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """Results as JSON knows them: numbers that are none become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, float) or hasattr(value, "item"):
        number = float(value)
        return number if math.isfinite(number) else None
    return value
