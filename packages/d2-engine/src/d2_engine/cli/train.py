"""``d2 train``."""

import argparse
import sys
from typing import Any

from d2_engine.interruption import TrainingInterrupted

_EXAMPLES = """
examples:
  d2 train quickstart/mask_rcnn_shapes.py
  d2 train finetune/mask_rcnn_r50_fpn.py --output output/mine \\
      data.train.json=train.json data.train.images=train/ \\
      data.val.json=val.json data.val.images=val/
  d2 train finetune/mask_rcnn_r50_fpn.py --output output/mine --resume …
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a detector, evaluate it and show what it sees",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="a config file, or the name of a packaged config"
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes of the config"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="the run's folder (train.output_dir, OUTPUT_DIR)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the folder's last checkpoint"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0)
    parser.add_argument("--dist-url", default="auto", help="where processes meet")
    parser.set_defaults(run=run, more="overrides")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    from d2_engine.launcher import launch
    from d2_engine.run_folder import load_config
    from d2_engine.run_settings import apply_overrides, output_dir_of, set_output_dir

    cfg = apply_overrides(load_config(args.config), args.overrides)
    if args.output:
        set_output_dir(cfg, args.output)
    try:
        launch(
            _train,
            args.num_gpus,
            args.num_machines,
            args.machine_rank,
            args.dist_url,
            args=(cfg, args.resume),
        )
    except TrainingInterrupted as interrupted:
        print(
            f"{interrupted}: the checkpoint is in {output_dir_of(cfg)}; "
            "continue with the same command and --resume",
            file=sys.stderr,
        )
        return interrupted.exit_code
    return 0


def _train(cfg: Any, resume: bool) -> None:
    from d2_config import CfgNode
    from d2_engine.run_settings import output_dir_of
    from d2_eval.report import results_table

    if isinstance(cfg, CfgNode):
        from d2_engine.yacs_run import train_yacs_detector

        results = train_yacs_detector(cfg, resume=resume)
    else:
        from d2_engine.detector_run import train_detector

        results = train_detector(cfg, resume=resume)
    if results:
        print(f"\n{results_table(results)}\n\nEverything is in {output_dir_of(cfg)}")
