"""Lists of augmentations applied by a function; d2 has ``AugmentationList`` for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from d2_data.transforms import AugInput, Augmentation, AugmentationList, Transform, TransformList


class _Fixed(Augmentation):
    """An augmentation that always chooses the same transform."""

    def __init__(self, transform: Transform) -> None:
        self.tfm = transform

    def get_transform(self, *args: Any) -> Transform:
        return self.tfm


def _transform_to_aug(tfm_or_aug: Any) -> Augmentation:
    """Return an augmentation itself, or the one that always chooses a transform."""
    if isinstance(tfm_or_aug, (Transform, TransformList)):
        return _Fixed(tfm_or_aug)
    if isinstance(tfm_or_aug, Augmentation):
        return tfm_or_aug
    raise TypeError(f"wanted an Augmentation or a Transform, got {tfm_or_aug!r}")


def apply_augmentations(augmentations: Sequence[Any], inputs: Any) -> tuple[Any, TransformList]:
    """Apply augmentations and transforms in order.

    Args:
        augmentations: a list of them.
        inputs: an image, or an `AugInput`, which is changed.

    Returns:
        The image, or the input; and the transforms that were chosen.
    """
    is_image = isinstance(inputs, np.ndarray)
    wrapped = AugInput(inputs) if is_image else inputs
    chosen = AugmentationList([_transform_to_aug(a) for a in augmentations])(wrapped)
    return (wrapped.image if is_image else wrapped), chosen


apply_transform_gens = apply_augmentations
