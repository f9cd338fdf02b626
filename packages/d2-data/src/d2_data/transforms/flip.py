"""Mirroring."""

import numpy as np

from d2_data.transforms.augmentation import Augmentation, decides_by_shape
from d2_data.transforms.random_application import check_probability
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["HFlipTransform", "RandomFlip", "VFlipTransform"]


class HFlipTransform(Transform):
    """Mirror left and right.

    Args:
        width: of the image, in pixels; x becomes width − x.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """A mirrored view of (H, W), (H, W, C) or (N, H, W, C)."""
        return np.flip(img, axis=1 if img.ndim <= 3 else -2)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """x becomes width − x: these are coordinates, not pixel indices."""
        flipped = np.array(coords)
        flipped[:, 0] = self.width - flipped[:, 0]
        return flipped

    def apply_rotated_box(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Mirror (N, 5) boxes (x centre, y centre, width, height, angle in degrees)."""
        flipped = np.array(rotated_boxes)
        flipped[:, 0] = self.width - flipped[:, 0]
        flipped[:, 4] = -flipped[:, 4]
        return flipped

    def inverse(self) -> "HFlipTransform":
        """To mirror again."""
        return self


class VFlipTransform(Transform):
    """Mirror top and bottom.

    Args:
        height: of the image, in pixels; y becomes height − y.
    """

    def __init__(self, height: int) -> None:
        self.height = height

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """A mirrored view of (H, W), (H, W, C) or (N, H, W, C)."""
        return np.flip(img, axis=0 if img.ndim <= 3 else -3)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """y becomes height − y: these are coordinates, not pixel indices."""
        flipped = np.array(coords)
        flipped[:, 1] = self.height - flipped[:, 1]
        return flipped

    def apply_rotated_box(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Mirror (N, 5) boxes (x centre, y centre, width, height, angle in degrees)."""
        flipped = np.array(rotated_boxes)
        flipped[:, 1] = self.height - flipped[:, 1]
        flipped[:, 4] = -flipped[:, 4]
        return flipped

    def inverse(self) -> "VFlipTransform":
        """To mirror again."""
        return self


class RandomFlip(Augmentation):
    """Mirror the image with a given probability. Draws one uniform number.

    Args:
        prob: in [0, 1].
        horizontal: mirror left and right.
        vertical: mirror top and bottom; exactly one of the two must be chosen.
    """

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        check_probability("RandomFlip", prob)
        if horizontal == vertical:
            raise ValueError(
                "RandomFlip flips in one direction, got "
                f"horizontal={horizontal}, vertical={vertical}; use two RandomFlips for both"
            )
        self.prob = prob
        self.horizontal = horizontal
        self.vertical = vertical

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> Transform:
        """A flip, or a transform that does nothing."""
        h, w = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(w) if self.horizontal else VFlipTransform(h)
