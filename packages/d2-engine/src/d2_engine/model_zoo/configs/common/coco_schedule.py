"""Learning-rate schedules for COCO with 16 images a batch; 1x is about 12 epochs."""

from d2_config import LazyCall as L
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler

_WARMUP_ITERATIONS = 1000


def _default_schedule(num_x: int):
    """Two decays before the end. From 3x on they come 60k and 20k iterations before it."""
    total = num_x * 90_000
    if num_x <= 2:
        # Kept as published: the 2x schedule has the milestones of 1x.
        milestones = [60_000, 80_000, 90_000]
    else:
        milestones = [total - 60_000, total - 20_000, total]
    return L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1, 0.01], milestones=milestones),
        warmup_length=_WARMUP_ITERATIONS / total,
        warmup_method="linear",
        warmup_factor=0.001,
    )


lr_multiplier_1x = _default_schedule(1)
lr_multiplier_2x = _default_schedule(2)
lr_multiplier_3x = _default_schedule(3)
lr_multiplier_6x = _default_schedule(6)
lr_multiplier_9x = _default_schedule(9)
