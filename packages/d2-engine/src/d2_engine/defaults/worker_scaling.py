"""One config for any number of training processes."""

import logging

from d2_config import CfgNode

logger = logging.getLogger(__name__)


def scale_to_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
    """Keep a config's batch size per process when it runs in another number of processes.

    It was written for ``SOLVER.REFERENCE_WORLD_SIZE`` processes. Batch size and learning rate
    are multiplied by the ratio to it, numbers of iterations (training, steps, warm-up,
    checkpoints, evaluation) divided. For example ::

        IMS_PER_BATCH: 16, BASE_LR: 0.1, REFERENCE_WORLD_SIZE: 8,
        MAX_ITER: 5000, STEPS: (4000,), CHECKPOINT_PERIOD: 1000

    becomes for 16 processes ::

        IMS_PER_BATCH: 32, BASE_LR: 0.2, REFERENCE_WORLD_SIZE: 16,
        MAX_ITER: 2500, STEPS: (2000,), CHECKPOINT_PERIOD: 500

    Args:
        cfg: the config; it is not changed.
        num_workers: the number of processes.

    Returns:
        A new config, frozen if ``cfg`` is. ``cfg`` itself if ``REFERENCE_WORLD_SIZE`` is 0, which
        turns this off, or ``num_workers``.

    Raises:
        ValueError: if the batch cannot be divided among the reference number of processes.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, num_workers):
        return cfg
    if cfg.SOLVER.IMS_PER_BATCH % reference:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH={cfg.SOLVER.IMS_PER_BATCH} cannot be divided among "
            f"SOLVER.REFERENCE_WORLD_SIZE={reference} processes"
        )
    scale = num_workers / reference
    scaled = cfg.clone()
    scaled.defrost()
    solver = scaled.SOLVER
    solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * scale)
    solver.BASE_LR *= scale
    solver.MAX_ITER = round(solver.MAX_ITER / scale)
    solver.WARMUP_ITERS = round(solver.WARMUP_ITERS / scale)
    solver.STEPS = tuple(round(step / scale) for step in solver.STEPS)
    solver.CHECKPOINT_PERIOD = round(solver.CHECKPOINT_PERIOD / scale)
    solver.REFERENCE_WORLD_SIZE = num_workers
    scaled.TEST.EVAL_PERIOD = round(scaled.TEST.EVAL_PERIOD / scale)
    logger.info(
        "The config for %d processes was scaled to %d: batch size %d, learning rate %g, "
        "%d iterations with %d of warm-up",
        reference,
        num_workers,
        solver.IMS_PER_BATCH,
        solver.BASE_LR,
        solver.MAX_ITER,
        solver.WARMUP_ITERS,
    )
    if cfg.is_frozen():
        scaled.freeze()
    return scaled
