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
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="a checkpoint or its URL; by default the run's last, or a packaged config's own",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for the results")
    parser.set_defaults(run=run, more="overrides")
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns the exit code."""
    from d2_config import CfgNode
    from d2_config.logger import setup_logger
    from d2_engine.run_folder import load_config_to_use
    from d2_engine.run_settings import apply_overrides, output_dir_of, set_output_dir
    from d2_eval.report import results_table

    setup_logger()
    cfg = apply_overrides(load_config_to_use(args.config, args.weights), args.overrides)
    if args.output:
        set_output_dir(cfg, args.output)
    results = _evaluate_yacs(cfg) if isinstance(cfg, CfgNode) else _evaluate_lazy(cfg)
    print(f"\n{results_table(results)}\n\nEverything is in {output_dir_of(cfg)}")
    return 0


def _evaluate_yacs(cfg: Any) -> dict[str, Any]:
    from d2_engine.yacs_run import evaluate_yacs_detector

    return evaluate_yacs_detector(cfg)


def _evaluate_lazy(cfg: Any) -> dict[str, Any]:
    from d2_config import instantiate
    from d2_engine.checkpoint import DetectionCheckpointer
    from d2_engine.dataset_classes import metadata_of, settle_num_classes
    from d2_engine.detector_run import build_detector, evaluate_detector

    loader = instantiate(cfg.dataloader.test)
    settle_num_classes(cfg, metadata_of(cfg.dataloader.test))
    model = build_detector(cfg)
    DetectionCheckpointer(model).load(cfg.train.init_checkpoint, strict=True)
    return evaluate_detector(cfg, model, loader=loader, report=True)
