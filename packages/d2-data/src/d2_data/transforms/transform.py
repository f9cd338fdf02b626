"""Deterministic operations on images and everything drawn on them."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from d2_data.transforms.signature_repr import signature_repr

__all__ = ["NoOpTransform", "Transform", "TransformList"]

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Transform(metaclass=ABCMeta):
    """A deterministic operation on images and other data.

    Each ``apply_*`` method handles one type of data; a subclass gives at least
    :meth:`apply_image` and :meth:`apply_coords`. Random policies that *choose* a
    transform are :class:`~d2_data.transforms.Augmentation`.

    Coordinates are continuous: a point inside an image of H×W pixels has x in [0, W]
    and y in [0, H]. Transforms leave their input as it is; what they return may be a
    view of it.
    """

    @abstractmethod
    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Transform an image.

        Args:
            img: (H, W), (H, W, C) or (N, H, W, C); uint8 in [0, 255], or floating
                point in [0, 1] or [0, 255].
        """

    @abstractmethod
    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Transform (N, 2) floating-point points (x, y), inside the image or not."""

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Transform an (H, W) map of integer labels or booleans; labels are not mixed."""
        return self.apply_image(segmentation)

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        """Transform (N, 4) axis-aligned XYXY boxes in pixels.

        The result encloses the transformed corners, so that a rotation enlarges a
        box. It is not clipped to the image.
        """
        boxes = np.asarray(box).reshape(-1, 4)
        corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 2)
        moved = self.apply_coords(corners).reshape(-1, 4, 2)
        return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)

    def apply_rotated_box(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Transform (N, 5) boxes (x centre, y centre, width, height, angle in degrees).

        Angles run counter-clockwise; the result's lie in [-180, 180). Flips, shifts, rotations
        and equal scaling are exact. Where a rectangle becomes another shape, its centre and the
        lengths of its two middle lines are kept, and the direction of the one along the height.
        """
        boxes = np.asarray(rotated_boxes)
        x, y, width, height, angle_deg = boxes.reshape(-1, 5).astype(np.float64).T
        cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        along_width = np.stack([width * cos, -width * sin], axis=1) / 2
        along_height = np.stack([height * sin, height * cos], axis=1) / 2
        # Directions are asked of unit vectors, so that boxes without extent keep theirs.
        upright = np.stack([sin, cos], axis=1)
        centre = np.stack([x, y], axis=1)
        offsets = (0, along_width, -along_width, along_height, -along_height, upright, -upright)
        points = np.concatenate([centre + offset for offset in offsets])
        moved = np.asarray(self.apply_coords(points), dtype=np.float64).reshape(7, -1, 2)
        middle_lines = moved[1::2] - moved[2::2]
        new_width, new_height = np.hypot(*middle_lines[:2].transpose(2, 0, 1))
        angle = np.rad2deg(np.arctan2(*middle_lines[2].T))
        angle = (angle + 180) % 360 - 180
        result = np.column_stack([moved[0], new_width, new_height, angle])
        floating = np.issubdtype(boxes.dtype, np.floating)
        return result.astype(boxes.dtype if floating else np.float64, copy=False)

    def apply_polygons(self, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Transform polygons, each (N, 2) points (x, y) in pixels."""
        return [self.apply_coords(polygon) for polygon in polygons]

    @classmethod
    def register_type(
        cls, data_type: str, func: Callable[..., Any] | None = None
    ) -> Callable[..., Any]:
        """Teach this transform, and its subclasses, to handle another type of data.

        Args:
            data_type: the new method will be ``apply_<data_type>``.
            func: takes the transform and the data, returns the transformed data. Left
                out, the call is a decorator for such a function.

        Example:
            >>> @HFlipTransform.register_type("voxel")
            ... def flip_voxel(transform, voxel):
            ...     return voxel[:, :, ::-1]
            >>> HFlipTransform(width=4).apply_voxel(voxel)
        """
        if func is None:
            return partial(cls._register, data_type)
        return cls._register(data_type, func)

    @classmethod
    def _register(cls, data_type: str, func: Handler) -> Handler:
        if not callable(func):
            raise TypeError(
                f"{cls.__name__}.register_type({data_type!r}, …) wants a function of the "
                f"transform and the data, got {func!r}"
            )
        setattr(cls, f"apply_{data_type}", lambda self, data: func(self, data))
        return func

    def inverse(self) -> "Transform":
        """The transform that undoes the change of coordinates of this one.

        Photometric changes are not undone: their inverse does nothing.

        Raises:
            NotImplementedError: if the transform has no inverse.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def __repr__(self) -> str:
        return signature_repr(self)


class TransformList(Transform):
    """Transforms applied one after the other.

    Args:
        transforms: in the order of application. Nested lists are flattened.

    Attributes:
        transforms: list[Transform], without nesting.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms: list[Transform] = []
        for transform in transforms:
            if not isinstance(transform, Transform):
                raise TypeError(f"TransformList holds transforms, got {transform!r}")
            self.transforms.extend(_flatten(transform))

    def __getattribute__(self, name: str) -> Any:
        # Every type of data, also one registered later, goes through each transform.
        if name.startswith("apply_"):
            return partial(object.__getattribute__(self, "_apply"), name)
        return super().__getattribute__(name)

    def _apply(self, method: str, data: Any) -> Any:
        for transform in self.transforms:
            try:
                handler = getattr(transform, method)
            except AttributeError:
                raise AttributeError(
                    f"{type(transform).__name__} has no {method}; "
                    f"{type(transform).__name__}.register_type({method[6:]!r}) adds one"
                ) from None
            data = handler(data)
        return data

    def apply_image(self, x: np.ndarray) -> np.ndarray:
        """Transform an image by each transform in turn."""
        image: np.ndarray = self._apply("apply_image", x)
        return image

    def apply_coords(self, x: np.ndarray) -> np.ndarray:
        """Transform points by each transform in turn."""
        coords: np.ndarray = self._apply("apply_coords", x)
        return coords

    def inverse(self) -> "TransformList":
        """The inverse of each transform, in reversed order."""
        return TransformList([transform.inverse() for transform in reversed(self.transforms)])

    def __add__(self, other: Transform) -> "TransformList":
        return TransformList([*self.transforms, *_flatten(other)])

    def __iadd__(self, other: Transform) -> "TransformList":
        self.transforms.extend(_flatten(other))
        return self

    def __radd__(self, other: Transform) -> "TransformList":
        return TransformList([*_flatten(other), *self.transforms])

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: int) -> Transform:
        return self.transforms[index]

    def __repr__(self) -> str:
        return f"TransformList[{', '.join(map(repr, self.transforms))}]"


def _flatten(transform: Transform) -> list[Transform]:
    return transform.transforms if isinstance(transform, TransformList) else [transform]


class NoOpTransform(Transform):
    """Leaves everything, of whatever type, as it is."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The image itself."""
        return img

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The points themselves."""
        return coords

    def apply_rotated_box(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """The rotated boxes themselves."""
        return rotated_boxes

    def inverse(self) -> "NoOpTransform":
        """Nothing is undone by doing nothing."""
        return self

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        if name.startswith("apply_"):
            return lambda data: data
        raise AttributeError(f"NoOpTransform has no attribute {name!r}")
