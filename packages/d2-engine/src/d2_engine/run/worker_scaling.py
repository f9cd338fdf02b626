"""One config for any number of training processes."""

import logging
from typing import Any, TypeVar

from d2_engine.run.settings import Settings

_logger = logging.getLogger(__name__)

AnySettings = TypeVar("AnySettings", bound=Settings)

_PROPORTIONAL = ("batch_size", "base_lr")
_INVERSE = ("max_iter", "steps", "warmup_iters", "checkpoint_period", "eval_period")


def scale_to_workers(settings: AnySettings, num_workers: int) -> AnySettings:
    """Keep a config's batch size per process when it runs in another number of processes.

    It was written for ``SOLVER.REFERENCE_WORLD_SIZE`` (``train.reference_world_size``) processes.
    Batch size and learning rate are multiplied by the ratio to it, numbers of iterations
    (training, steps, warm-up, checkpoints, evaluation) divided. For example ::

        IMS_PER_BATCH: 16, BASE_LR: 0.1, REFERENCE_WORLD_SIZE: 8,
        MAX_ITER: 5000, STEPS: (4000,), CHECKPOINT_PERIOD: 1000

    becomes for 16 processes ::

        IMS_PER_BATCH: 32, BASE_LR: 0.2, REFERENCE_WORLD_SIZE: 16,
        MAX_ITER: 2500, STEPS: (2000,), CHECKPOINT_PERIOD: 500

    Steps and warm-up of a lazy config are shares of the whole run and stay.

    Args:
        settings: of the config; they are not changed.
        num_workers: the number of processes.

    Returns:
        New settings. ``settings`` themselves if the reference number is 0, which turns this off,
        or ``num_workers``.

    Raises:
        ValueError: if the batch cannot be divided among the reference number of processes.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017.
    """
    reference = settings.get("reference_world_size", 0)
    if reference in (0, num_workers):
        return settings
    batch_size = settings.get("batch_size", reference)
    if batch_size % reference:
        raise ValueError(
            f"{settings.called('batch_size')}={batch_size} cannot be divided among "
            f"{settings.called('reference_world_size')}={reference} processes"
        )
    scale = num_workers / reference
    values: dict[str, Any] = {"reference_world_size": num_workers}
    for meaning in (*_PROPORTIONAL, *_INVERSE):
        old = settings.get(meaning) if meaning in settings.NAMES else None
        if old is not None:
            values[meaning] = _scaled(old, scale if meaning in _PROPORTIONAL else 1 / scale)
    _logger.info(
        "The config for %d processes was scaled to %d: %s",
        *(reference, num_workers),
        ", ".join(f"{settings.called(k)}={v}" for k, v in values.items()),
    )
    return settings.with_(**values)


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(round(item * factor) for item in value)
    return round(value * factor) if isinstance(value, int) else value * factor
