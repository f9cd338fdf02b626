"""Changes of colour; coordinates and segmentations stay as they are."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["BlendTransform", "ColorTransform", "PILColorTransform"]


class ColorTransform(Transform):
    """Any photometric operation.

    Args:
        op: takes an image array, returns one of the same size.
    """

    def __init__(self, op: Callable[[np.ndarray], np.ndarray]) -> None:
        if not callable(op):
            raise TypeError(f"ColorTransform wants a function of an image, got {op!r}")
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The image after ``op``."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The points themselves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The segmentation itself."""
        return segmentation

    def inverse(self) -> Transform:
        """Colour changes move nothing, so there is nothing to undo."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """A photometric operation on Pillow images.

    Args:
        op: takes a ``PIL.Image.Image``, returns one of the same size.
    """

    def __init__(self, op: Callable[[Image.Image], Image.Image]) -> None:
        if not callable(op):
            raise TypeError(f"PILColorTransform wants a function of a PIL image, got {op!r}")
        super().__init__(lambda img: np.asarray(op(Image.fromarray(img))))


class BlendTransform(Transform):
    """Mix an image with another: ``src_weight * src_image + dst_weight * image``.

    Args:
        src_image: the other image, or whatever broadcasts against it.
        src_weight: its weight.
        dst_weight: the weight of the image that is transformed.
    """

    def __init__(self, src_image: np.ndarray | float, src_weight: float, dst_weight: float) -> None:
        self.src_image = src_image
        self.src_weight = src_weight
        self.dst_weight = dst_weight

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:
        """The mixture. uint8 is computed in float32, clipped to [0, 255] and truncated.

        Args:
            img: uint8 or floating point.
            interp: has no effect; every ``apply_image`` of a resampling kind takes it.
        """
        if img.dtype != np.uint8:
            return self.src_weight * self.src_image + self.dst_weight * img
        mixed = self.src_weight * self.src_image + self.dst_weight * img.astype(np.float32)
        return np.clip(mixed, 0, 255).astype(np.uint8)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The points themselves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The segmentation itself."""
        return segmentation

    def inverse(self) -> Transform:
        """Colour changes move nothing, so there is nothing to undo."""
        return NoOpTransform()
