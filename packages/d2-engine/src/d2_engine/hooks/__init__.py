"""Hooks for the training loop."""

from d2_engine.hooks.callback import CallbackHook
from d2_engine.hooks.checkpointing import BestCheckpointer, PeriodicCheckpointer
from d2_engine.hooks.ema import EMA
from d2_engine.hooks.evaluation import EvalHook
from d2_engine.hooks.learning_rate import LRScheduler
from d2_engine.hooks.precise_bn import PreciseBN
from d2_engine.hooks.profiling import AutogradProfiler, TorchProfiler
from d2_engine.hooks.seeding import IterationSeed
from d2_engine.hooks.timing import IterationTimer
from d2_engine.hooks.writing import PeriodicWriter

__all__ = [
    "EMA",
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationSeed",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchProfiler",
]
