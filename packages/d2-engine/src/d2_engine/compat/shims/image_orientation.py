"""Turning a picture as its camera was held; d2 does so where pictures are opened."""

from PIL import Image, ImageOps


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """The picture upright, by the orientation in its EXIF data."""
    turned = ImageOps.exif_transpose(image)
    return image if turned is None else turned
