"""The colour augmentation of SSD: brightness, contrast, saturation and hue, each at times."""

import numpy as np
from PIL import Image

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.color import ColorTransform
from d2_data.transforms.transform import Transform

__all__ = ["ColorAugSSD"]


class ColorAugSSD(Augmentation):
    """Change brightness, contrast, saturation and hue, each in half of the images.

    Contrast comes before saturation and hue, or behind them.

    Args:
        img_format: order of the image's channels, ``"BGR"`` or ``"RGB"``.
        brightness_delta: most that is added to or taken from every value.
        contrast_low, contrast_high: range of the factor on every value.
        saturation_low, saturation_high: range of the factor on the saturation.
        hue_delta: most that the hue is turned, in steps of two degrees.

    Raises:
        ValueError: on another order of channels.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2016, and its published code.
    """

    def __init__(
        self,
        img_format: str,
        brightness_delta: float = 32,
        contrast_low: float = 0.5,
        contrast_high: float = 1.5,
        saturation_low: float = 0.5,
        saturation_high: float = 1.5,
        hue_delta: int = 18,
    ) -> None:
        if img_format not in ("BGR", "RGB"):
            raise ValueError(f"ColorAugSSD knows the formats 'BGR' and 'RGB', got {img_format!r}")
        self.img_format = img_format
        self.brightness_delta = brightness_delta
        self.contrast_low = contrast_low
        self.contrast_high = contrast_high
        self.saturation_low = saturation_low
        self.saturation_high = saturation_high
        self.hue_delta = hue_delta

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw what changes, and how much."""
        brightness = _drawn(-self.brightness_delta, self.brightness_delta, 0.0)
        contrast_first = bool(np.random.randint(2))
        contrast = _drawn(self.contrast_low, self.contrast_high, 1.0)
        saturation = _drawn(self.saturation_low, self.saturation_high, 1.0)
        turn = 2 * np.random.randint(-self.hue_delta, self.hue_delta + 1)
        hue = turn if np.random.randint(2) else 0
        reverse = self.img_format == "BGR"

        def change(pixels: np.ndarray) -> np.ndarray:
            pixels = _scaled(pixels[..., ::-1] if reverse else pixels, 1.0, brightness)
            if contrast_first:
                pixels = _scaled(pixels, contrast)
            pixels = _recoloured(pixels, saturation, hue)
            if not contrast_first:
                pixels = _scaled(pixels, contrast)
            return np.ascontiguousarray(pixels[..., ::-1] if reverse else pixels)

        return ColorTransform(change)


def _drawn(low: float, high: float, otherwise: float) -> float:
    """A value in a range, or half of the time the one that changes nothing."""
    value = float(np.random.uniform(low, high))
    return value if np.random.randint(2) else otherwise


def _scaled(pixels: np.ndarray, factor: float, added: float = 0.0) -> np.ndarray:
    if factor == 1.0 and added == 0.0:
        return pixels
    changed = pixels.astype(np.float32) * factor + added
    return np.clip(changed, 0, 255).astype(np.uint8)


def _recoloured(rgb: np.ndarray, saturation: float, hue: int) -> np.ndarray:
    """RGB pixels with a factor on their saturation and their hue turned by some degrees."""
    if saturation == 1.0 and hue == 0:
        return rgb
    hsv = np.array(Image.fromarray(np.ascontiguousarray(rgb)).convert("HSV"))
    hsv[..., 1] = _scaled(hsv[..., 1], saturation)
    # Pillow has 256 steps of hue. What goes beyond wraps round.
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + round(hue * 256 / 360)) % 256
    return np.asarray(Image.fromarray(hsv, mode="HSV").convert("RGB"))
