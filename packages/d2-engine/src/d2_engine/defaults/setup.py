"""The beginning of a training script: arguments, logs, seed, a copy of the config."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from d2_config.logger import FILE_ONLY
from d2_engine.run.folder import CONFIG
from d2_engine.run.settings import settings_of
from d2_engine.run.start import seed_process, settle_seed, start_logging, tune_convolutions
from d2_structures import comm

logger = logging.getLogger(__name__)


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with the usual arguments of a training script.

    Args:
        epilog: shown below the help; by default some examples.
    """
    program = os.path.basename(sys.argv[0]) or "train.py"
    parser = argparse.ArgumentParser(
        epilog=epilog
        or f"""
Examples:

One machine:
    $ {program} --num-gpus 8 --config-file cfg.yaml

Change some values of the config:
    $ {program} --config-file cfg.yaml MODEL.WEIGHTS /path/to/weight.pth SOLVER.BASE_LR 0.001

Several machines:
    (machine 0)$ {program} --machine-rank 0 --num-machines 2 --dist-url <URL> [--other-flags]
    (machine 1)$ {program} --machine-rank 1 --num-machines 2 --dist-url <URL> [--other-flags]
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to a config file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint in the output folder, if there is one",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="number of GPUs per machine")
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        help="where processes meet, e.g. tcp://127.0.0.1:8686; auto takes a free local port",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        default=None,
        help="config overrides at the end of the command: path.key=value for lazy configs, "
        "pairs of PATH.KEY VALUE for yacs configs",
    )
    return parser


def default_setup(cfg: Any, args: Any) -> None:
    """Set up logging, note environment, arguments and config, and seed the generators.

    Also sets the precision of float32 matrix products where the config has
    ``FLOAT32_PRECISION`` (or ``train.float32_precision``): ``highest``, ``high`` or ``medium``.

    Writes ``log.txt`` and ``config.yaml`` into the output folder. Without a seed in the config
    (or with a negative one) a random seed is chosen, or with ``args.resume`` the one kept that the
    run began with; it is logged and set in ``cfg``, so that the whole script has this one.

    Args:
        cfg: a lazy config (with ``train.output_dir``) or a yacs config (with ``OUTPUT_DIR``).
        args: parsed command line, logged.
    """
    settings = settings_of(cfg)
    output_dir = settings.get("output_dir") or ""
    start_logging(output_dir)
    logger.info("Arguments: %s", args, extra=FILE_ONLY)
    seed = settle_seed(settings, resume=getattr(args, "resume", False))
    settings.assign("seed", seed)
    if output_dir and comm.is_main_process():
        path = Path(output_dir, CONFIG)
        settings.save(path)
        logger.info("The full config was saved to %s", path)
    seed_process(settings, seed)
    if not getattr(args, "eval_only", False):
        tune_convolutions(settings)
