"""Saving and loading training state and weights."""

from d2_engine.checkpoint.averaged_weights import ema_weights
from d2_engine.checkpoint.checkpointer import Checkpointer
from d2_engine.checkpoint.detection import DetectionCheckpointer
from d2_engine.checkpoint.periodic import PeriodicCheckpointer
from d2_engine.checkpoint.reading import read_checkpoint
from d2_engine.checkpoint.restricted_pickle import load_restricted_pickle

__all__ = [
    "Checkpointer",
    "DetectionCheckpointer",
    "PeriodicCheckpointer",
    "ema_weights",
    "load_restricted_pickle",
    "read_checkpoint",
]
