"""``d2 eval``."""

import argparse
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the sub-command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "eval", help="evaluate trained weights on the test data of a config"
    )
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="the folder of a training run, a config file, or the name of a packaged config",
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes of the config"
    )
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint (train.init_checkpoint)")
    parser.add_argument("--output", metavar="DIR", help="folder for the results")
    parser.set_defaults(run=run, more="overrides")
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns the exit code."""
    from d2_config import LazyConfig, instantiate
    from d2_config.logger import setup_logger
    from d2_engine.checkpoint import DetectionCheckpointer
    from d2_engine.dataset_classes import metadata_of, settle_num_classes
    from d2_engine.detector_run import build_detector, evaluate_detector
    from d2_engine.run_folder import load_config
    from d2_eval.report import results_table

    setup_logger()
    cfg = LazyConfig.apply_overrides(load_config(args.config), args.overrides)
    if args.weights:
        cfg.train.init_checkpoint = args.weights
    if args.output:
        cfg.train.output_dir = args.output
    if not cfg.train.init_checkpoint:
        raise ValueError("there is nothing to evaluate: give a checkpoint with --weights FILE")
    loader = instantiate(cfg.dataloader.test)
    settle_num_classes(cfg, metadata_of(cfg.dataloader.test))
    model = build_detector(cfg)
    DetectionCheckpointer(model).load(cfg.train.init_checkpoint, strict=True)
    results = evaluate_detector(cfg, model, loader=loader, report=True)
    print(f"\n{results_table(results)}\n\nEverything is in {cfg.train.output_dir}")
    return 0
