"""SSD's random colours as one transform, whose draws are made when an image is given."""

from typing import Any

from d2_data.transforms import ColorAugSSD, Transform


class ColorAugSSDTransform(Transform):
    """Change brightness, contrast, saturation and hue, each at every second image.

    Args:
        img_format: ``"BGR"`` or ``"RGB"``.
        options: ranges of the changes, see :class:`d2_data.transforms.ColorAugSSD`, which draws
            once for an image and everything that goes with it.
    """

    def __init__(self, img_format: str, *options: Any, **named: Any) -> None:
        super().__init__()
        self._policy = ColorAugSSD(img_format, *options, **named)
        self.is_rgb = img_format == "RGB"

    def apply_image(self, img: Any, interp: Any = None) -> Any:
        """(H, W, 3) uint8 in ``img_format``, changed."""
        return self._policy.get_transform(img).apply_image(img)

    def apply_coords(self, coords: Any) -> Any:
        """Coordinates as they are."""
        return coords

    def apply_segmentation(self, segmentation: Any) -> Any:
        """Labels as they are."""
        return segmentation
