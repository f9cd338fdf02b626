"""The picture being drawn: a canvas with its scale, and ways to take it away."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .canvas import Canvas

__all__ = ["VisImage"]


class VisImage:
    """An RGB picture, possibly scaled, that drawing methods write into.

    Attributes:
        img: the (H, W, 3) uint8 image that was given, unscaled and never written to.
        scale: output pixels per pixel of ``img``.
        width, height: size of the output in pixels.
        canvas: the pixels being drawn on.
    """

    def __init__(self, img: Any, scale: float = 1.0) -> None:
        """
        Args:
            img: an RGB image of shape (H, W, 3) or a grey one of shape (H, W) or (H, W, 1),
                in the range 0..255; any real dtype.
            scale: scale the input image by this factor.

        Raises:
            TypeError: if ``img`` is not numeric.
            ValueError: if its shape is another, it holds no pixels, or ``scale`` is not positive.
        """
        if not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be a positive number, got {scale!r}")
        self.img = _as_rgb(img)
        self.scale = float(scale)
        height, width = self.img.shape[:2]
        self.width = max(int(width * scale + 1e-2), 1)
        self.height = max(int(height * scale + 1e-2), 1)
        pixels = self.img
        if (self.height, self.width) != (height, width):
            resized = Image.fromarray(pixels).resize(
                (self.width, self.height), Image.Resampling.BICUBIC
            )
            pixels = np.asarray(resized)
        self.canvas = Canvas(pixels)

    def get_image(self) -> NDArray[np.uint8]:
        """The picture as a new (height, width, 3) uint8 RGB array."""
        return self.canvas.to_image()

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the picture; the format follows the extension, the file appears complete.

        Raises:
            ValueError: if the extension is not one of an image format that Pillow writes.
        """
        path = Path(filepath)
        Image.init()
        image_format = Image.registered_extensions().get(path.suffix.lower())
        if image_format not in Image.SAVE:
            raise ValueError(
                f"cannot tell an image format from {path.name!r}; "
                "wanted a file name with an extension such as .png or .jpg"
            )
        encoded = io.BytesIO()
        self.canvas.to_pillow().save(encoded, format=image_format)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encoded.getbuffer())
            _give_default_permissions(temporary)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def _repr_png_(self) -> bytes:
        """Show the picture in notebooks."""
        encoded = io.BytesIO()
        self.canvas.to_pillow().save(encoded, format="PNG")
        return encoded.getvalue()


def _give_default_permissions(path: str) -> None:
    """Temporary files are private; give the file the permissions that `open` would have."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def _as_rgb(img: Any) -> NDArray[np.uint8]:
    array = np.asarray(img)
    if array.dtype.kind not in "buif":
        raise TypeError(f"img must be a numeric array, got {type(img).__name__} of {array.dtype}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise ValueError(
            f"img must have shape (H, W, 3) with H, W >= 1, got {np.shape(img)}"
            + ("; move channels last first" if array.ndim == 3 and array.shape[0] == 3 else "")
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError("img holds NaN or infinite values")
        array = np.rint(array)
    if array.dtype != np.uint8:
        array = array.clip(0, 255).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array
