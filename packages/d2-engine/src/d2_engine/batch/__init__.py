"""Prediction over millions of pictures, on Ray Data; needs the extra ``d2-engine[ray]``."""

from d2_engine.batch.output import read_predictions
from d2_engine.batch.prediction import Predicted, predict

__all__ = ["Predicted", "predict", "read_predictions"]
