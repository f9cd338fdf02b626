"""Whether to apply something at all: flips and the general case."""

from typing import Any

import numpy as np

from d2_data.transforms.augmentation import Augmentation, _Transformable, as_augmentation
from d2_data.transforms.flip_transforms import HFlipTransform, VFlipTransform
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["RandomApply", "RandomFlip"]


def _check_probability(policy: str, prob: float) -> None:
    if not 0 <= prob <= 1:
        raise ValueError(f"{policy}: prob must lie in [0, 1], got {prob!r}")


class RandomApply(Augmentation):
    """Apply a policy or transform with a given probability.

    Draws one uniform number, then whatever the policy draws.

    Args:
        tfm_or_aug: what to apply.
        prob: in [0, 1].
    """

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        _check_probability("RandomApply", prob)
        self.aug = as_augmentation(tfm_or_aug)
        self.tfm_or_aug = tfm_or_aug
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """The policy's choice, or a transform that does nothing."""
        return self.aug.get_transform(*args) if self._drawn() else NoOpTransform()

    def __call__(self, aug_input: _Transformable) -> Transform:
        """Augment in place, or not."""
        return self.aug(aug_input) if self._drawn() else NoOpTransform()

    def _drawn(self) -> bool:
        return bool(self._rand_range() < self.prob)


class RandomFlip(Augmentation):
    """Mirror the image with a given probability. Draws one uniform number.

    Args:
        prob: in [0, 1].
        horizontal: mirror left and right.
        vertical: mirror top and bottom; exactly one of the two must be chosen.
    """

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        _check_probability("RandomFlip", prob)
        if horizontal == vertical:
            raise ValueError(
                "RandomFlip flips in one direction, got "
                f"horizontal={horizontal}, vertical={vertical}; use two RandomFlips for both"
            )
        self.prob = prob
        self.horizontal = horizontal
        self.vertical = vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """A flip, or a transform that does nothing."""
        h, w = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(w) if self.horizontal else VFlipTransform(h)
