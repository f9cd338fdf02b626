"""SSD's random colours as one transform, whose draws are made when an image is given."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2_data.transforms import Transform

Image = NDArray[np.float32]


class ColorAugSSDTransform(Transform):
    """Change brightness, contrast, saturation and hue, each at every second image.

    Args:
        img_format: ``"BGR"`` or ``"RGB"``.
        brightness_delta: added at most, of 255.
        contrast_low, contrast_high: range of the factor on the values.
        saturation_low, saturation_high: range of the factor on the saturation.
        hue_delta: added at most, of 180 for the whole circle.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2016.
    """

    def __init__(
        self,
        img_format: str,
        brightness_delta: int = 32,
        contrast_low: float = 0.5,
        contrast_high: float = 1.5,
        saturation_low: float = 0.5,
        saturation_high: float = 1.5,
        hue_delta: int = 18,
    ) -> None:
        super().__init__()
        if img_format not in ("BGR", "RGB"):
            raise ValueError(f"img_format is 'BGR' or 'RGB', got {img_format!r}")
        self.is_rgb = img_format == "RGB"
        self.brightness_delta = brightness_delta
        self.contrast = (contrast_low, contrast_high)
        self.saturation = (saturation_low, saturation_high)
        self.hue_delta = hue_delta

    def apply_image(self, img: Any, interp: Any = None) -> Any:
        """(H, W, 3) uint8 in ``img_format``, changed."""
        values = img[..., :3] if self.is_rgb else img[..., ::-1]
        values = values.astype(np.float32)
        values = self._bytes(values, self._shifted)
        if random.randrange(2):
            values = self._in_random_order(values, contrast_last=False)
        else:
            values = self._in_random_order(values, contrast_last=True)
        changed = values.astype(np.uint8)
        return changed if self.is_rgb else np.ascontiguousarray(changed[..., ::-1])

    def apply_coords(self, coords: Any) -> Any:
        """Coordinates as they are."""
        return coords

    def apply_segmentation(self, segmentation: Any) -> Any:
        """Labels as they are."""
        return segmentation

    def _in_random_order(self, values: Image, *, contrast_last: bool) -> Image:
        steps = [self._more_contrast, self._more_saturated, self._other_hue]
        if contrast_last:
            steps = [*steps[1:], steps[0]]
        for step in steps:
            values = self._bytes(values, step)
        return values

    @staticmethod
    def _bytes(values: Image, step: Any) -> Image:
        """Do a step or not; values stay whole numbers from 0 to 255."""
        if not random.randrange(2):
            return values
        return np.floor(np.clip(step(values), 0, 255)).astype(np.float32)

    def _shifted(self, values: Image) -> Image:
        return values + random.uniform(-self.brightness_delta, self.brightness_delta)

    def _more_contrast(self, values: Image) -> Image:
        return values * np.float32(random.uniform(*self.contrast))

    def _more_saturated(self, values: Image) -> Image:
        factor = random.uniform(*self.saturation)
        brightest = values.max(axis=-1, keepdims=True)
        spread = brightest - values.min(axis=-1, keepdims=True)
        # The saturation, spread / brightest, is 1 at most.
        limit = np.divide(brightest, spread, out=np.ones_like(spread), where=spread > 0)
        return brightest - (brightest - values) * np.minimum(factor, limit)

    def _other_hue(self, values: Image) -> Image:
        turn = random.randint(-self.hue_delta, self.hue_delta) / 30  # of six sectors
        brightest = values.max(axis=-1, keepdims=True)
        spread = brightest - values.min(axis=-1, keepdims=True)
        sector = (_sectors(values, brightest[..., 0], spread[..., 0]) + turn) % 6
        offsets = np.array([5.0, 3.0, 1.0], np.float32)
        position = (sector[..., None] + offsets) % 6
        amount = np.clip(np.minimum(position, 4 - position), 0, 1)
        return brightest - spread * amount


def _sectors(rgb: Image, brightest: Image, spread: Image) -> Image:
    """The hue in [0, 6), red at 0."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    safe = np.where(spread > 0, spread, 1)
    hue = np.where(
        brightest == red,
        ((green - blue) / safe) % 6,
        np.where(brightest == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return np.where(spread > 0, hue, 0)
