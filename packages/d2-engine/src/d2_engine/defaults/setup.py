"""The beginning of a training script: arguments, logs, seed, a copy of the config."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from d2_config import LazyConfig
from d2_config.atomic_file import write_atomically
from d2_config.logger import setup_logger
from d2_engine.environment import collect_environment, format_environment
from d2_engine.hooks.seeding import seed_generators, split_seed
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

    Writes ``log.txt`` and ``config.yaml`` into the output folder. Without a seed in the
    config (or with a negative one) a random seed is chosen and logged.

    Args:
        cfg: a lazy config (with ``train.output_dir``) or a yacs config (with ``OUTPUT_DIR``).
        args: parsed command line, logged.
    """
    output_dir = _setting(cfg, "train.output_dir", "OUTPUT_DIR")
    rank = comm.get_rank()
    if output_dir and comm.is_main_process():
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    setup_logger(output_dir or None, distributed_rank=rank)
    logger.info("Process %d of %d", rank, comm.get_world_size())
    logger.info("Environment:\n%s", format_environment(collect_environment()))
    logger.info("Command line: %s", args)
    if output_dir and comm.is_main_process():
        path = os.path.join(output_dir, "config.yaml")
        if isinstance(cfg, DictConfig):
            LazyConfig.save(cfg, path)
        else:
            write_atomically(path, cfg.dump())
        logger.info("The full config was saved to %s", path)
    seed = run_seed(cfg)
    logger.info("Seed: %d", seed)
    seed_generators(split_seed(seed, rank))
    precision = _setting(cfg, "train.float32_precision", "FLOAT32_PRECISION", default="")
    if precision:
        logger.info("Precision of float32 matrix products: %s", precision)
        torch.set_float32_matmul_precision(precision)
    # Finding the fastest convolution pays off in training only, and is not reproducible.
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = bool(
            _setting(cfg, "train.cudnn_benchmark", "CUDNN_BENCHMARK", default=False)
        )


def run_seed(cfg: Any) -> int:
    """Return the seed of the run, the same in every process: the config's, or a random one."""
    seed = _setting(cfg, "train.seed", "SEED", default=-1)
    if seed is None or seed < 0:
        return int(comm.shared_random_seed())
    return int(seed)


def _setting(cfg: Any, lazy_key: str, yacs_key: str, default: Any = None) -> Any:
    if isinstance(cfg, DictConfig):
        return OmegaConf.select(cfg, lazy_key, default=default)
    return getattr(cfg, yacs_key, default)
