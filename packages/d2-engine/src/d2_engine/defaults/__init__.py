"""What most training and inference scripts do in the same way."""

from d2_engine.data_parallel import create_ddp_model
from d2_engine.defaults.predictor import DefaultPredictor
from d2_engine.defaults.setup import default_argument_parser, default_setup
from d2_engine.defaults.trainer import DefaultTrainer
from d2_engine.defaults.writers import default_writers

__all__ = [
    "DefaultPredictor",
    "DefaultTrainer",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
]
