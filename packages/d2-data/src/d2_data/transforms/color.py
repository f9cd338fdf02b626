"""Changes of colour, and choosing one; coordinates and segmentations stay as they are."""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = [
    "BlendTransform",
    "ColorTransform",
    "PILColorTransform",
    "RandomBrightness",
    "RandomContrast",
    "RandomLighting",
    "RandomSaturation",
]

# ITU-R BT.601 luma of (red, green, blue).
_LUMA = (0.299, 0.587, 0.114)

# Principal components of ImageNet's colours, as published with AlexNet's implementations.
_IMAGENET_EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_IMAGENET_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])


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
        super().__init__(partial(_on_pillow, op))  # loading processes may be sent it


def _on_pillow(op: Callable[[Image.Image], Image.Image], img: np.ndarray) -> np.ndarray:
    return np.asarray(op(Image.fromarray(img)))


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


class _RandomIntensity(Augmentation):
    """Draws one uniform intensity; 1 keeps the image, 0 gives what it is mixed with.

    Args:
        intensity_min, intensity_max: interval of the intensity.
    """

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        if intensity_min > intensity_max:
            raise ValueError(
                f"{type(self).__name__}: intensity_min {intensity_min} exceeds intensity_max "
                f"{intensity_max}"
            )
        self.intensity_min = intensity_min
        self.intensity_max = intensity_max

    def _blend_with(self, other: np.ndarray | float) -> Transform:
        weight = float(np.random.uniform(self.intensity_min, self.intensity_max))
        return BlendTransform(src_image=other, src_weight=1 - weight, dst_weight=weight)


class RandomContrast(_RandomIntensity):
    """Change contrast: mix with the image's mean. Below 1 less, above 1 more contrast.

    Args:
        intensity_min, intensity_max: interval that the intensity is drawn from.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """The mixture with the mean over all pixels and channels."""
        return self._blend_with(image.mean())


class RandomBrightness(_RandomIntensity):
    """Change brightness: mix with black. Below 1 darker, above 1 brighter.

    Args:
        intensity_min, intensity_max: interval that the intensity is drawn from.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """The mixture with black."""
        return self._blend_with(0)


class RandomSaturation(_RandomIntensity):
    """Change saturation: mix with the grey image. Below 1 greyer, above 1 more colourful.

    Args:
        intensity_min, intensity_max: interval that the intensity is drawn from.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """The mixture with the grey version of an (H, W, 3) RGB image."""
        _check_rgb("RandomSaturation", image)
        return self._blend_with(image.dot(_LUMA)[:, :, np.newaxis])


class RandomLighting(Augmentation):
    """Shift colours along the principal components of ImageNet's colours.

    Draws three normal numbers.

    Args:
        scale: standard deviation of the shift along each component.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural
    networks", 2012, section 4.1.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_transform(self, image: np.ndarray) -> Transform:
        """The addition of one colour to an (H, W, 3) RGB image."""
        _check_rgb("RandomLighting", image)
        weights = np.random.normal(scale=self.scale, size=3)
        colour = _IMAGENET_EIGENVECTORS @ (weights * _IMAGENET_EIGENVALUES)
        return BlendTransform(src_image=colour, src_weight=1.0, dst_weight=1.0)


def _check_rgb(policy: str, image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"{policy} wants an (H, W, 3) RGB image, got shape {image.shape}")
