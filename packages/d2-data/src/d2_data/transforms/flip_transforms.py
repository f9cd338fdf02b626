"""Mirroring."""

import numpy as np

from d2_data.transforms.transform import Transform

__all__ = ["HFlipTransform", "VFlipTransform"]


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
