"""Training, evaluating and using detectors; the ``d2`` command."""

from d2_engine.launcher import launch
from d2_engine.train_loop import HookBase, TrainerBase
from d2_engine.trainers import AMPTrainer, SimpleTrainer

__all__ = [
    "AMPTrainer",
    "HookBase",
    "SimpleTrainer",
    "TrainerBase",
    "launch",
]
