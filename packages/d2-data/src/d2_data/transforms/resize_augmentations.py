"""Choosing a size."""

import sys
from collections.abc import Sequence

import numpy as np

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.resampling import BILINEAR
from d2_data.transforms.resize_transforms import ResizeTransform
from d2_data.transforms.transform import NoOpTransform, Transform

__all__ = ["Resize", "ResizeScale", "ResizeShortestEdge"]


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
        """Size after scaling, (h, w) in pixels, rounded to nearest with halves up."""
        scale = short_edge_length / min(oldh, oldw)
        if oldh < oldw:
            new_h, new_w = float(short_edge_length), scale * oldw
        else:
            new_h, new_w = scale * oldh, float(short_edge_length)
        longest = max(new_h, new_w)
        if longest > max_size:
            new_h, new_w = new_h * (max_size / longest), new_w * (max_size / longest)
        return int(new_h + 0.5), int(new_w + 0.5)


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

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize of this image by a drawn scale."""
        scale = np.random.uniform(self.min_scale, self.max_scale)
        h, w = image.shape[:2]
        factor = min(self.target_height * scale / h, self.target_width * scale / w)
        new_h, new_w = (int(np.round(side * factor)) for side in (h, w))
        return ResizeTransform(h, w, new_h, new_w, int(self.interp))
