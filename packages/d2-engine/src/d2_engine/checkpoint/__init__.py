"""Saving and loading training state and weights."""

from d2_engine.checkpoint.averaged_weights import ema_weights
from d2_engine.checkpoint.checkpointer import Checkpointer
from d2_engine.checkpoint.detection import DetectionCheckpointer
from d2_engine.checkpoint.periodic import PeriodicCheckpointer
from d2_modeling.weights import read_checkpoint

__all__ = [
    "Checkpointer",
    "DetectionCheckpointer",
    "PeriodicCheckpointer",
    "ema_weights",
    "read_checkpoint",
]
