"""Policies that look at the data, often roll dice, and choose a transform.

Random choices are drawn from NumPy's global generator (``numpy.random``), so that
policies written elsewhere, which draw from it as well, follow the same seed. The
train loader seeds it anew for each sample.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

from d2_data.transforms.signature_repr import signature_repr
from d2_data.transforms.transform import Transform, TransformList

__all__ = ["AugInput", "Augmentation", "AugmentationList"]


class Transformable(Protocol):
    def transform(self, tfm: Transform) -> None: ...


Decision = TypeVar("Decision", bound=Callable[..., Any])


def decides_by_shape(get_transform: Decision) -> Decision:
    """Mark a ``get_transform`` that looks at nothing of the image but its shape.

    An input whose image is not read yet gives it an array of that shape.
    """
    get_transform.decides_by_shape = True  # type: ignore[attr-defined]  # functions take attributes
    return get_transform


class Augmentation:
    """A policy: :meth:`get_transform` decides, calling the policy decides and applies.

    The names of ``get_transform``'s parameters say which attributes of the input the
    decision needs. By convention:

    * ``image``: (H, W) or (H, W, C), uint8 in [0, 255] or floating point;
    * ``boxes``: (N, 4) float32 XYXY in pixels;
    * ``sem_seg``: (H, W) uint8 labels.

    Example:
        >>> class HalfSize(Augmentation):
        ...     def get_transform(self, image):
        ...         h, w = image.shape[:2]
        ...         return ResizeTransform(h, w, h // 2, w // 2)
        >>> aug_input = AugInput(image, boxes=boxes)
        >>> transform = HalfSize()(aug_input)
        >>> aug_input.image, aug_input.boxes  # halved, both
    """

    def get_transform(self, *args: Any) -> Transform:
        """Decide which transform to apply.

        Args:
            args: a fixed number of positional arguments, named as the attributes of
                the input that they come from. A policy that keeps ``*args`` is given
                the image.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define get_transform")

    def __call__(self, aug_input: Transformable) -> Transform:
        """Augment ``aug_input`` in place.

        Args:
            aug_input: has the attributes that the policy needs, and ``transform``.

        Returns:
            The transform that was applied, to be applied to further data.

        Raises:
            AttributeError: if the input lacks an attribute that the policy needs.
        """
        transform = self.get_transform(*self._arguments(aug_input))
        if not isinstance(transform, Transform):
            raise TypeError(
                f"{type(self).__name__}.get_transform must return a Transform, got {transform!r}"
            )
        aug_input.transform(transform)
        return transform

    def _arguments(self, aug_input: Transformable) -> list[Any]:
        arguments = []
        by_shape = getattr(type(self).get_transform, "decides_by_shape", False)
        for name in _argument_names(type(self)):
            if name == "image" and by_shape and hasattr(aug_input, "image_stand_in"):
                arguments.append(aug_input.image_stand_in)
                continue
            try:
                arguments.append(getattr(aug_input, name))
            except AttributeError:
                raise AttributeError(
                    f"{type(self).__name__}.get_transform needs {name!r}, which the "
                    f"{type(aug_input).__name__} given to it does not have"
                ) from None
        return arguments

    def looks_at(self, name: str) -> bool:
        """Whether the decision needs an attribute of the input, as ``"boxes"``."""
        return name in _argument_names(type(self))

    def _init(self, params: Mapping[str, Any] | None = None) -> None:
        """Keep the arguments of a constructor, as of ``locals()``, as attributes."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: int | None = None
    ) -> Any:
        """Uniform draws from [low, high), or from [0, low) when ``high`` is None."""
        if high is None:
            low, high = 0.0, low
        return np.random.uniform(low, high, size)

    def __repr__(self) -> str:
        return signature_repr(self)

    def __str__(self) -> str:
        return repr(self)


_OLD_NAMES_OF_THE_IMAGE = ("img", "im")
"""Of the only parameter: policies were once given nothing else."""


def _argument_names(policy: type[Augmentation]) -> tuple[str, ...]:
    """What ``policy.get_transform`` is called with."""
    return _parameters(policy.get_transform)


@lru_cache(maxsize=256)
def _parameters(get_transform: Callable[..., Any]) -> tuple[str, ...]:
    parameters = list(inspect.signature(get_transform).parameters.values())[1:]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ("image",)
    if len(parameters) == 1 and parameters[0].name in _OLD_NAMES_OF_THE_IMAGE:
        return ("image",)
    return tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


class AugmentationList(Augmentation):
    """Policies and transforms applied one after the other.

    A policy sees the data as the ones before it left them; therefore the list can only
    be called, and has no ``get_transform``.

    Args:
        augs: list[Augmentation or Transform]; any transform of ``torchvision.transforms.v2`` and
            any pipeline of albumentations may stand there too.
    """

    def __init__(self, augs: Sequence[Any]) -> None:
        self.augs = [as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input: Transformable) -> TransformList:
        """Augment in place and return all that was applied."""
        return TransformList([aug(aug_input) for aug in self.augs])

    def looks_at(self, name: str) -> bool:
        """Whether one of the list's decisions needs an attribute of the input."""
        return any(aug.looks_at(name) for aug in self.augs)

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(repr, self.augs))}]"


class _Always(Augmentation):
    """The policy that always chooses the same transform."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    @decides_by_shape
    def get_transform(self, *args: Any) -> Transform:
        return self.transform

    def __repr__(self) -> str:
        return repr(self.transform)


def as_augmentation(tfm_or_aug: Any) -> Augmentation:
    """A policy as it is, a transform as the policy that always chooses it.

    One of torchvision.transforms.v2 or albumentations becomes the policy that draws as it does.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(tfm_or_aug, Augmentation):
        return tfm_or_aug
    if isinstance(tfm_or_aug, Transform):
        return _Always(tfm_or_aug)
    # Imported here, as it builds on this module.
    from d2_data.transforms.other_libraries import augmentation_of

    found = augmentation_of(tfm_or_aug)
    if found is None:
        raise TypeError(
            "wanted an Augmentation or a Transform, or a transform of torchvision.transforms.v2 or "
            f"albumentations, got {tfm_or_aug!r}"
        )
    return found


class AugInput:
    """Data that a policy looks at and its transform is applied to.

    Args:
        image: (H, W) or (H, W, C), uint8 in [0, 255] or floating point.
        boxes: (N, 4) float XYXY in pixels, or None.
        sem_seg: (H, W) integer labels, or None.

    Example:
        >>> aug_input = AugInput(image, boxes=boxes)
        >>> transform = augmentation(aug_input)
        >>> aug_input.image, aug_input.boxes  # augmented
        >>> transform.apply_polygons(polygons)  # the same for other data
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> None:
        if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
            raise TypeError(
                "AugInput wants an image array of shape (H, W) or (H, W, C), got "
                f"{getattr(image, 'shape', type(image).__name__)}"
            )
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply ``tfm`` to all that is present; the attributes hold the results."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)
