"""Choosing a change of colour."""

import numpy as np

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.color_transforms import BlendTransform
from d2_data.transforms.transform import Transform

__all__ = ["RandomBrightness", "RandomContrast", "RandomLighting", "RandomSaturation"]

# ITU-R BT.601 luma of (red, green, blue).
_LUMA = (0.299, 0.587, 0.114)

# Principal components of ImageNet's colours, as published with AlexNet's implementations.
_IMAGENET_EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_IMAGENET_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])


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
