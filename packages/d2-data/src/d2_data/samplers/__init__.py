"""Which samples a process sees, and in which order."""

from d2_data.samplers.inference_sampler import InferenceSampler
from d2_data.samplers.training_sampler import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

__all__ = [
    "InferenceSampler",
    "RandomSubsetTrainingSampler",
    "RepeatFactorTrainingSampler",
    "TrainingSampler",
]
