"""Policies that make one sample of several."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from d2_data.transforms.random_application import check_probability
from d2_data.transforms.signature_repr import signature_repr

__all__ = ["Mix"]

Sample = dict[str, Any]
"""What a mapper returns: ``image`` (C, H, W), and in training ``instances``, ``sem_seg``."""


class Mix(ABC):
    """A policy that mixes a sample with further ones of the dataset.

    Draws one uniform number, then whatever :meth:`mix` draws; all from NumPy's global generator.

    Args:
        prob: in [0, 1], of mixing at all.
    """

    def __init__(self, prob: float = 1.0) -> None:
        check_probability(type(self).__name__, prob)
        self.prob = prob

    @abstractmethod
    def mix(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """Mix a sample with others.

        Args:
            sample: of the mapper; stays as it is.
            draw: gives a random sample of the dataset, after the mapper.

        Returns:
            A new sample.
        """

    def __call__(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """Mix, or return the sample itself."""
        return self.mix(sample, draw) if np.random.uniform() < self.prob else sample

    def __repr__(self) -> str:
        return signature_repr(self)
