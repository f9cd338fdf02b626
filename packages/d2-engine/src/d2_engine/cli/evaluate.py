"""``d2 eval``."""

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from d2_engine.cli.evaluate_files import (
    add_file_options,
    given_file_options,
    results_of_files,
)
from d2_engine.cli.run_arguments import (
    RunArguments,
    add_config,
    add_processes,
    launch_with,
    print_results,
    run_arguments,
)

_PAGE_TASKS: tuple[Literal["segm", "bbox"], ...] = ("segm", "bbox")

_EXAMPLES = """
examples:
  d2 eval output/mine
  d2 eval COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml
  d2 eval my_config.yaml --weights model.pth data.val.json=val.json data.val.images=val/
  d2 eval --predictions results.json --gt instances.json --task bbox segm
  d2 eval --predictions panoptic.json --gt panoptic_val2017.json
  d2 eval --predictions labels/ --gt annotations/ --ignore-label 0
  d2 eval output/mine --report report/
  d2 eval output/mine --exported model.onnx
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "eval",
        usage="d2 eval [options] CONFIG [key=value ...]\n"
        "       d2 eval --exported FILE CONFIG [key=value ...]\n"
        "       d2 eval --predictions FILE --gt FILE [--task TASK ...] [--report DIR] [--json]",
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
    exported = parser.add_argument_group("a model that was exported, on the data of the config")
    exported.add_argument(
        "--exported",
        metavar="FILE",
        help="what d2 export wrote; CONFIG as the folder of a run, or --weights, puts the figures "
        "of the model beside it",
    )
    exported.add_argument(
        "--allow-unsafe",
        action="store_true",
        help="run the program that an exported file of PyTorch's formats is",
    )
    pages = parser.add_argument_group("a page that shows what predictions get wrong")
    pages.add_argument(
        "--report", metavar="DIR", help="write the page, DIR/index.html, and files beside it"
    )
    pages.add_argument(
        "--compare",
        metavar="FILE",
        help="predictions of another run, in COCO's result format, that the page compares with",
    )
    add_processes(parser)
    files = parser.add_argument_group(
        "predictions of any system", "compared with annotations, without config and model"
    )
    add_file_options(files)
    files.add_argument(
        "--images",
        metavar="DIR",
        help="of the annotations, for the report (default: what is found beside them)",
    )
    parser.set_defaults(run=run, more="words", usage_error=parser.error)
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns the exit code."""
    if args.compare and not args.report:
        args.usage_error("--compare FILE is for --report DIR")
    if args.exported and (args.predictions or args.gt or args.report):
        args.usage_error("--exported FILE needs a config, and knows no --report DIR")
    if args.allow_unsafe and not args.exported:
        args.usage_error("--allow-unsafe is for --exported FILE")
    if args.predictions or args.gt:
        return _run_on_files(args)
    for option in [*given_file_options(args), *(["--images"] if args.images else [])]:
        args.usage_error(f"{option} is for --predictions FILE --gt FILE")
    if args.exported:
        return _run_exported(args)
    arguments = run_arguments(args), args.json, args.stall_timeout, args.report, args.compare
    launch_with(args, evaluate_in_process, arguments)
    return 0


def _run_exported(args: argparse.Namespace) -> int:
    what = run_arguments(args)
    arguments = what, args.exported, args.allow_unsafe, args.json, args.stall_timeout
    launch_with(args, evaluate_exported_in_process, arguments)
    return 0


def evaluate_exported_in_process(
    what: RunArguments, path: str, allow_unsafe: bool, as_json: bool, stall_timeout: float
) -> None:
    """Evaluate an exported model, in one of maybe several processes, and print one table."""
    from d2_engine.run.exported_evaluation import evaluate_exported, side_by_side

    beside_model = bool(what.weights) or Path(what.config).is_dir()
    with _logs_elsewhere() if as_json else contextlib.nullcontext():
        plan = what.plan(to_use=beside_model)
        found = evaluate_exported(
            plan,
            path,
            allow_unsafe=allow_unsafe,
            beside_model=beside_model,
            stall_timeout=stall_timeout,
        )
    if not found:
        return
    if as_json:
        _print_json(found)
    else:
        print_results(side_by_side(found), plan.output_dir)


def evaluate_in_process(
    what: RunArguments,
    as_json: bool,
    stall_timeout: float,
    pages: str | None = None,
    compare_with: str | None = None,
) -> None:
    """Evaluate, in one of maybe several processes, and print the results in the main one."""
    from d2_engine.run import evaluate
    from d2_structures import comm

    with _logs_elsewhere() if as_json else contextlib.nullcontext():
        plan = what.plan(to_use=True)
        results = evaluate(
            plan,
            report=True,
            pages=pages,
            compare_with=compare_with,
            stall_timeout=stall_timeout,
        )
    if not comm.is_main_process():
        return
    if as_json:
        _print_json(results)
    else:
        print_results(results, plan.output_dir)


def _run_on_files(args: argparse.Namespace) -> int:
    from d2_eval.report import results_table

    if args.words or args.config_file:
        args.usage_error("--predictions and --gt need no config")
    for option, given in (("--predictions", args.predictions), ("--gt", args.gt)):
        if not given:
            args.usage_error(f"{option} FILE is missing")
    results = results_of_files(args)
    page = _page_of_files(args) if args.report else None
    if args.json:
        _print_json(results)
    else:
        print(results_table(results))
        if page is not None:
            print(f"\nThe report is {page}")
    return 0


def _page_of_files(args: argparse.Namespace) -> Path:
    from d2_eval.report import write

    return write(
        args.report,
        args.gt,
        args.predictions,
        compare_with=args.compare,
        names=_run_names(args.predictions, args.compare),
        title=Path(args.predictions).stem,
        task=next((task for task in _PAGE_TASKS if task in args.task), None),
        image_root=args.images,
        kpt_oks_sigmas=args.oks_sigmas,
    )


def _run_names(predictions: str, compare_with: str | None) -> tuple[str, str]:
    """What tells two files apart: their names, or where those are equal, their folders."""
    first, second = Path(predictions), Path(compare_with or "")
    if first.name != second.name:
        return first.stem, second.stem
    return str(first.parent), str(second.parent)


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
