"""The beginning of a run: its seed, its logs, what it notes of its surroundings."""

import logging
import sys
from pathlib import Path

import torch

from d2_config.logger import FILE_ONLY, setup_logger
from d2_engine.environment import collect_environment, format_environment
from d2_engine.hooks.seeding import seed_generators, split_seed
from d2_engine.run.folder import CONFIG
from d2_engine.run.settings import Settings
from d2_structures import comm

_logger = logging.getLogger(__name__)


def settle_seed(settings: Settings, *, resume: bool) -> int:
    """Return the one seed of a run, the same in every process.

    It is the config's; without one (or with a negative one) a resumed run keeps the seed that it
    began with, and a new run draws one.

    Args:
        settings: of the config.
        resume: whether the run goes on in a folder that has a ``config.yaml``.
    """
    seed = settings.get("seed")
    if seed is not None and seed >= 0:
        return int(seed)
    began_with = None
    saved = Path(settings.get("output_dir") or "", CONFIG)
    if resume and saved.is_file():
        from d2_engine.run.configs import read_settings

        began_with = read_settings(saved).get("seed")
    # Other machines may not see the folder of the main process.
    began_with = comm.all_gather(began_with)[0]
    if began_with is None or began_with < 0:
        return comm.shared_random_seed()
    return int(began_with)


def start_logging(output_dir: str) -> None:
    """Let log messages go to the terminal and, with the surroundings, to ``log.txt``.

    Args:
        output_dir: the run's folder, which is made; "" for none.
    """
    if output_dir and comm.is_main_process():
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    setup_logger(output_dir or None, distributed_rank=comm.get_rank())
    if comm.get_world_size() > 1:
        _logger.info("Process %d of %d", comm.get_rank(), comm.get_world_size())
    _logger.info("Environment:\n%s", format_environment(collect_environment()), extra=FILE_ONLY)
    _logger.info("Command line: %s", " ".join(sys.argv), extra=FILE_ONLY)


def seed_process(settings: Settings, seed: int) -> None:
    """Seed the generators of this process, and set the precision that the config asks for."""
    _logger.info("Seed: %d", seed)
    seed_generators(split_seed(seed, comm.get_rank()))
    precision = settings.get("float32_precision")
    if precision:
        _logger.info("Precision of float32 matrix products: %s", precision)
        torch.set_float32_matmul_precision(precision)


def tune_convolutions(settings: Settings) -> None:
    """Let cuDNN look for the fastest convolutions, where the config asks for that.

    It pays off in training only, and is not reproducible.
    """
    torch.backends.cudnn.benchmark = bool(settings.get("cudnn_benchmark", False))
