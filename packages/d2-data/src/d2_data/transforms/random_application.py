"""Whether to apply something at all."""

from typing import Any

from d2_data.transforms.augmentation import Augmentation, Transformable, as_augmentation
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["RandomApply"]


def check_probability(policy: str, prob: float) -> None:
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
        check_probability("RandomApply", prob)
        self.aug = as_augmentation(tfm_or_aug)
        self.tfm_or_aug = tfm_or_aug
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """The policy's choice, or a transform that does nothing."""
        return self.aug.get_transform(*args) if self._drawn() else NoOpTransform()

    def __call__(self, aug_input: Transformable) -> Transform:
        """Augment in place, or not."""
        return self.aug(aug_input) if self._drawn() else NoOpTransform()

    def looks_at(self, name: str) -> bool:
        """Whether the policy needs an attribute of the input."""
        return self.aug.looks_at(name)

    def _drawn(self) -> bool:
        return bool(self._rand_range() < self.prob)
