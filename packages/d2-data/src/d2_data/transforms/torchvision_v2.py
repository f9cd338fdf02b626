"""Transforms of ``torchvision.transforms.v2`` as policies."""

import copy
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from d2_data.transforms.augmentation import Augmentation, Transformable
from d2_data.transforms.flip import HFlipTransform, VFlipTransform
from d2_data.transforms.other_libraries import BoxesOnlyTransform, drawn_seed, draws_of
from d2_data.transforms.torchvision_steps import (
    Replayed,
    RunAnew,
    TorchvisionTransform,
    wrapped_boxes,
    wrapped_image,
)
from d2_data.transforms.transform import NoOpTransform, Transform, TransformList
from d2_data.transforms.windows import CropTransform

# Those of these modules change pixels in place.
_PHOTOMETRIC = ("_color", "_misc", "_type_conversion", "_augment")

# What they would do to boxes and points, transforms here do by themselves.
_WITHOUT_EFFECT = (
    "ConvertBoundingBoxFormat",
    "SetClampingMode",
    "ClampKeyPoints",
    "SanitizeKeyPoints",
)


def torchvision_augmentation(transform: Any) -> Augmentation:
    """A policy that draws the parameters of a transform once, for all data.

    All that is drawn follows NumPy's global generator, as policies do. Containers become lists of
    policies, so that each transform sees what the one before left.

    Raises:
        TypeError: if the transform mixes batches.
    """
    name, of_torchvision = type(transform).__name__, _is_of_torchvision(transform)
    if of_torchvision and name in ("MixUp", "CutMix"):
        raise TypeError(
            f"{name} of torchvision mixes batches, not pictures with boxes; see d2_data.mixing"
        )
    if of_torchvision and name in ("Compose", "RandomApply", "RandomChoice", "RandomOrder"):
        children = list(transform.transforms)
        if all(isinstance(child, _v2().Transform) for child in children):
            return _Container(transform, [torchvision_augmentation(child) for child in children])
    return _TorchvisionAugmentation(transform)


def _is_of_torchvision(transform: Any) -> bool:
    """Whether a transform is the library's own, not of a subclass that may do anything."""
    return type(transform).__module__.startswith("torchvision.")


class _Container(Augmentation):
    """Compose, RandomApply, RandomChoice or RandomOrder of torchvision."""

    def __init__(self, container: Any, children: Sequence[Augmentation]) -> None:
        self._container = container
        self._children = children

    def __call__(self, aug_input: Transformable) -> TransformList:
        """Augment in place and return all that was applied."""
        return TransformList([child(aug_input) for child in self._chosen()])

    def looks_at(self, name: str) -> bool:
        """Whether one of the decisions needs an attribute of the input."""
        return any(child.looks_at(name) for child in self._children)

    def _chosen(self) -> list[Augmentation]:
        children, kind = list(self._children), type(self._container).__name__
        if kind == "RandomApply":
            return children if np.random.uniform() < self._container.p else []
        if kind == "RandomChoice":
            return [children[np.random.choice(len(children), p=self._container.p)]]
        if kind == "RandomOrder":
            return [children[i] for i in np.random.permutation(len(children))]
        return children

    def __repr__(self) -> str:
        return f"{type(self._container).__name__}[{', '.join(map(repr, self._children))}]"


class _TorchvisionAugmentation(Augmentation):
    """The policy of one transform.

    Args:
        transform: of torchvision, or a subclass.
    """

    def __init__(self, transform: Any) -> None:
        self._transform = transform

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None = None) -> Transform:
        """What was drawn for an image of (H, W), (H, W, C) and, where it matters, its boxes."""
        size = (image.shape[0], image.shape[1])
        if _is_of_torchvision(self._transform):
            known = self._known_step(size)
            if known is not None:
                return known
        seed = drawn_seed()
        if not _draws_parameters_once(self._transform):
            name = type(self._transform).__name__
            return TorchvisionTransform(
                RunAnew(self._transform, size, seed), name, size, moves=True
            )
        if _may_be_left_out(self._transform) and np.random.uniform() >= self._transform.p:
            return NoOpTransform()
        return self._drawn_step(image, boxes, size, seed)

    def _known_step(self, size: tuple[int, int]) -> Transform | None:
        """The step of a transform that is the same as one here, or is about boxes alone."""
        transform, name = self._transform, type(self._transform).__name__
        if name in ("RandomHorizontalFlip", "RandomVerticalFlip"):
            if np.random.uniform() >= transform.p:
                return NoOpTransform()
            # Known as a mirror, so that keypoints exchange left and right.
            mirrors = name == "RandomHorizontalFlip"
            return HFlipTransform(size[1]) if mirrors else VFlipTransform(size[0])
        if name == "SanitizeBoundingBoxes":
            return _Sanitized(size, transform.min_size, transform.min_area)
        if name == "ClampBoundingBoxes":
            return _Clamped(size)
        return NoOpTransform() if name in _WITHOUT_EFFECT else None

    def _drawn_step(
        self, image: np.ndarray, boxes: np.ndarray | None, size: tuple[int, int], seed: int
    ) -> Transform:
        params = self._drawn_params(image, boxes, size, seed)
        name, of_torchvision = type(self._transform).__name__, _is_of_torchvision(self._transform)
        if of_torchvision and name == "RandomIoUCrop":
            return _crop_keeping_centres(params, size) if params else NoOpTransform()
        replay = _altered(
            self._transform,
            make_params=lambda flat: params,
            check_inputs=lambda flat: None,
            p=1.0,
        )
        module = type(self._transform).__module__.rpartition(".")[2]
        moves = not of_torchvision or module not in _PHOTOMETRIC or name == "Lambda"
        return TorchvisionTransform(Replayed(replay, seed), name, size, moves=moves)

    def _drawn_params(
        self, image: np.ndarray, boxes: np.ndarray | None, size: tuple[int, int], seed: int
    ) -> dict[str, Any]:
        """What the transform draws for an image, found by running it without its effect."""
        inputs = [wrapped_image(image)]
        if boxes is not None:
            inputs.append(wrapped_boxes(np.asarray(boxes), size))
        found: list[dict[str, Any]] = []

        def make_params(flat_inputs: list[Any]) -> dict[str, Any]:
            found.append(self._transform.make_params(flat_inputs))
            return found[0]

        probe = _altered(
            self._transform,
            make_params=make_params,
            transform=lambda inpt, params: inpt,
            p=1.0,
        )
        with draws_of(seed):
            try:
                probe(*inputs)
            except TypeError as error:
                if boxes is None and "bounding boxes" in str(error):
                    raise _without_boxes(self._transform) from error
                raise
        return found[0]

    def __repr__(self) -> str:
        return repr(self._transform)


def _without_boxes(transform: Any) -> ValueError:
    return ValueError(
        f"{type(transform).__name__} of torchvision looks at the boxes, and there are none: give "
        "AugInput(image, boxes=boxes)"
    )


def _draws_parameters_once(transform: Any) -> bool:
    v2 = _v2()
    return type(transform).forward is v2.Transform.forward or _may_be_left_out(transform)


def _may_be_left_out(transform: Any) -> bool:
    """Whether a transform is applied with a probability ``p``."""
    v2 = _v2()
    return type(transform).forward is v2.RandomHorizontalFlip.forward


def _altered(transform: Any, /, **attributes: Any) -> Any:
    """A copy of a transform with other methods and settings; the transform stays as it is."""
    altered = copy.copy(transform)
    if not _may_be_left_out(transform):
        attributes.pop("p")
    altered.__dict__.update(attributes)
    return altered


class _Clamped(BoxesOnlyTransform):
    """Cuts boxes at the edges of the image."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        height, width = self.size
        clipped: np.ndarray = np.clip(np.asarray(box), 0, [width, height, width, height])
        return clipped


class _Sanitized(_Clamped):
    """Cuts boxes at the edges of the image, and drops those that are then too small."""

    def __init__(self, size: tuple[int, int], min_size: float, min_area: float) -> None:
        super().__init__(size)
        self.min_size, self.min_area = min_size, min_area

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        boxes = super().apply_box(box).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = (sides >= self.min_size).all(axis=1) & (sides.prod(axis=1) >= self.min_area)
        return np.where(keep[:, None], boxes, 0).astype(boxes.dtype, copy=False)


def _crop_keeping_centres(params: dict[str, Any], size: tuple[int, int]) -> CropTransform:
    return _CropKeepingCentres(
        params["left"],
        params["top"],
        params["width"],
        params["height"],
        orig_w=size[1],
        orig_h=size[0],
    )


class _CropKeepingCentres(CropTransform):
    """A crop that drops the boxes whose centre it cuts off."""

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        boxes = super().apply_box(box)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        keep = ((centres > 0) & (centres < [self.w, self.h])).all(axis=1)
        return np.where(keep[:, None], boxes, 0).astype(boxes.dtype, copy=False)


def _v2() -> Any:
    return import_module("torchvision.transforms.v2")
