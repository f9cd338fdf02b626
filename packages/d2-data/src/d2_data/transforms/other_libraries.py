"""Transforms of torchvision and albumentations, recognised without importing either."""

import random
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.transform import NoOpTransform, Transform


def augmentation_of(transform: Any) -> Augmentation | None:
    """A policy that draws what a transform of another library would, or None if it is of none.

    Args:
        transform: of ``torchvision.transforms.v2`` or albumentations, or a subclass of theirs.

    Raises:
        TypeError: if it is of a kind that cannot stand among augmentations.
    """
    modules = {base.__module__ for base in type(transform).__mro__}
    if _any_of(modules, "torchvision.transforms.v2"):
        from d2_data.transforms.torchvision_v2 import torchvision_augmentation

        return torchvision_augmentation(transform)
    if _any_of(modules, "torchvision.transforms"):
        raise TypeError(
            f"{type(transform).__name__} is of torchvision.transforms, which changes pictures "
            "alone; use the one of the same name in torchvision.transforms.v2"
        )
    if _any_of(modules, "albumentations"):
        from d2_data.transforms.albumentations_pipeline import AlbumentationsAugmentation

        return AlbumentationsAugmentation(transform)
    return None


def _any_of(modules: set[str], package: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for module in modules)


@contextmanager
def draws_of(seed: int) -> Iterator[None]:
    """Let whatever is drawn inside follow from a seed, and leave the generators as they were.

    Args:
        seed: of Python's, NumPy's and torch's (CPU) global generators.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state(legacy=False)
    torch_state = torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.random.set_rng_state(torch_state)


def drawn_seed() -> int:
    """A seed, drawn from NumPy's global generator as all random choices are."""
    return int(np.random.randint(2**31))


def way_back(name: str, *, moves: bool) -> Transform:
    """The inverse of a transform of another library: nothing for a change of pixel values.

    Args:
        name: of the transform and its library, for the error.
        moves: whether anything but pixel values may change.

    Raises:
        NotImplementedError: if it does, as these libraries know no way back.
    """
    if not moves:
        return NoOpTransform()
    raise NotImplementedError(
        f"{name} has no inverse; where predictions are to be brought back, use the transforms of "
        "d2_data.transforms"
    )


class BoxesOnlyTransform(NoOpTransform):
    """Looks at boxes alone; those that are not to stay lose their extent, and so drop out."""

    @abstractmethod
    def apply_box(self, box: np.ndarray) -> np.ndarray:
        """Cut or drop boxes.

        Args:
            box: (N, 4) XYXY in pixels.

        Returns:
            (N, 4) XYXY in pixels; all zero where a box is to be dropped.
        """

    def inverse(self) -> NoOpTransform:
        """Nothing: what was cut off boxes does not come back, and no more is to be cut."""
        return NoOpTransform()
