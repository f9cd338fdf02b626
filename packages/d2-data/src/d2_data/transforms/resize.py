"""Changes of size, and choosing one."""

import sys
from collections.abc import Sequence

import numpy as np
import torch

from d2_data.transforms.augmentation import Augmentation, decides_by_shape
from d2_data.transforms.resampling import BILINEAR, NEAREST, resize, through_nchw
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["Resize", "ResizeScale", "ResizeShortestEdge", "ResizeTransform", "ScaleTransform"]


def _check_size(transform: Transform, img: np.ndarray, h: int, w: int) -> None:
    if img.shape[:2] != (h, w):
        raise ValueError(
            f"{transform!r} was made for images of height {h} and width {w}, got an array of "
            f"shape {img.shape}"
        )


def scale_points(coords: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    points = np.asarray(coords)
    if not np.issubdtype(points.dtype, np.floating):
        points = points.astype(np.float64)
    return points * np.asarray([scale_x, scale_y], dtype=points.dtype)


class ResizeTransform(Transform):
    """Resize an image to a given size.

    Args:
        h, w: size before, in pixels.
        new_h, new_w: size after, in pixels.
        interp: Pillow resampling method; bilinear when None.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        self.h, self.w = h, w
        self.new_h, self.new_w = new_h, new_w
        self.interp = BILINEAR if interp is None else int(interp)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize (H, W) or (H, W, C), by ``interp`` instead of the transform's when given.

        uint8 is filtered as by Pillow (antialiased); floating point is interpolated
        without antialiasing.

        Raises:
            ValueError: if the image is not of the size that the transform was made for.
        """
        _check_size(self, img, self.h, self.w)
        if img.ndim > 3:
            raise ValueError(f"ResizeTransform wants (H, W) or (H, W, C), got {img.shape}")
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        method = self.interp if interp is None else int(interp)
        return resize(img, self.new_h, self.new_w, method)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale points by new size / old size."""
        return scale_points(coords, self.new_w / self.w, self.new_h / self.h)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize by nearest neighbour."""
        return self.apply_image(segmentation, interp=NEAREST)

    def inverse(self) -> "ResizeTransform":
        """To resize back."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ScaleTransform(Transform):
    """Resize by torch's interpolation, without antialiasing.

    Args:
        h, w: size before, in pixels.
        new_h, new_w: size after, in pixels.
        interp: mode of :func:`torch.nn.functional.interpolate`: nearest, bilinear,
            bicubic or area; bilinear when None.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: str | None = None) -> None:
        self.h, self.w = h, w
        self.new_h, self.new_w = new_h, new_w
        self.interp = "bilinear" if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:
        """Resize (H, W), (H, W, C) or (N, H, W, C), by ``interp`` when given."""
        h, w = img.shape[:2] if img.ndim <= 3 else img.shape[1:3]
        if (h, w) != (self.h, self.w):
            raise ValueError(
                f"{self!r} was made for images of height {self.h} and width {self.w}, got an "
                f"array of shape {img.shape}"
            )
        mode = self.interp if interp is None else interp
        options = {"align_corners": False} if mode in ("bilinear", "bicubic") else {}
        return through_nchw(
            img,
            lambda batch: torch.nn.functional.interpolate(
                batch, (self.new_h, self.new_w), mode=mode, **options
            ),
        )

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale points by new size / old size."""
        return scale_points(coords, self.new_w / self.w, self.new_h / self.h)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize by nearest neighbour."""
        return self.apply_image(segmentation, interp="nearest")

    def inverse(self) -> "ScaleTransform":
        """To resize back."""
        return ScaleTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class Resize(Augmentation):
    """Resize to a fixed size.

    Args:
        shape: (h, w) in pixels, or one number for both.
        interp: Pillow resampling method.
    """

    def __init__(self, shape: int | tuple[int, int], interp: int = BILINEAR) -> None:
        new_h, new_w = (shape, shape) if isinstance(shape, int) else shape
        if new_h < 1 or new_w < 1:
            raise ValueError(f"Resize: shape must be a positive (h, w) or one int, got {shape!r}")
        self.shape = (new_h, new_w)
        self.interp = interp

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize of this image to the fixed size."""
        h, w = image.shape[:2]
        return ResizeTransform(h, w, *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Scale the shorter edge to a size, unless the longer one would exceed a limit.

    Draws one integer or choice, also where there is only one.

    Args:
        short_edge_length: [min, max] of the interval to draw from with "range", the
            sizes to choose from with "choice"; or one int. In pixels.
        max_size: the longer edge's limit in pixels.
        sample_style: "range" or "choice".
        interp: Pillow resampling method.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = BILINEAR,
    ) -> None:
        if sample_style not in ("range", "choice"):
            raise ValueError(
                f"ResizeShortestEdge: sample_style is 'range' or 'choice', got {sample_style!r}"
            )
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        if sample_style == "range" and len(short_edge_length) != 2:
            raise ValueError(
                "ResizeShortestEdge: short_edge_length must be two values for "
                f"sample_style='range', got {short_edge_length!r}; use 'choice' for a list of sizes"
            )
        if not short_edge_length:
            raise ValueError("ResizeShortestEdge: short_edge_length is empty")
        self.short_edge_length = short_edge_length
        self.max_size = max_size
        self.sample_style = sample_style
        self.interp = interp

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize of this image by a drawn size; size 0 means to leave it as it is."""
        h, w = image.shape[:2]
        if self.sample_style == "range":
            low, high = self.short_edge_length
            size = int(np.random.randint(low, high + 1))
        else:
            size = int(np.random.choice(self.short_edge_length))
        if size == 0:
            return NoOpTransform()
        new_h, new_w = self.get_output_shape(h, w, size, self.max_size)
        return ResizeTransform(h, w, new_h, new_w, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """Size after scaling, (h, w) in pixels, rounded to nearest with halves up; at least 1."""
        scale = short_edge_length / min(oldh, oldw)
        if oldh < oldw:
            new_h, new_w = float(short_edge_length), scale * oldw
        else:
            new_h, new_w = scale * oldh, float(short_edge_length)
        longest = max(new_h, new_w)
        if longest > max_size:
            new_h, new_w = new_h * (max_size / longest), new_w * (max_size / longest)
        return max(int(new_h + 0.5), 1), max(int(new_w + 0.5), 1)


class ResizeScale(Augmentation):
    """Fit the image into a randomly scaled target box, keeping its aspect ratio.

    Draws one uniform number.

    Args:
        min_scale, max_scale: interval of the scale of the box.
        target_height, target_width: the box at scale 1, in pixels.
        interp: Pillow resampling method.

    Source: the "resize and crop" augmentation of Google's TPU detection models.
    """

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = BILINEAR,
    ) -> None:
        self.min_scale, self.max_scale = min_scale, max_scale
        self.target_height, self.target_width = target_height, target_width
        self.interp = interp

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> ResizeTransform:
        """The resize of this image by a drawn scale."""
        scale = np.random.uniform(self.min_scale, self.max_scale)
        h, w = image.shape[:2]
        factor = min(self.target_height * scale / h, self.target_width * scale / w)
        new_h, new_w = (max(int(np.round(side * factor)), 1) for side in (h, w))
        return ResizeTransform(h, w, new_h, new_w, int(self.interp))
