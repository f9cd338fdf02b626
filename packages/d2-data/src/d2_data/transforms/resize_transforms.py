"""Changes of size and of the visible region."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from d2_data.transforms.resampling import BILINEAR, NEAREST, by_channel, pillow_plane, resize
from d2_data.transforms.transform import Transform

__all__ = ["ExtentTransform", "GridSampleTransform", "ResizeTransform", "ScaleTransform"]


def _check_size(transform: Transform, img: np.ndarray, h: int, w: int) -> None:
    if img.shape[:2] != (h, w):
        raise ValueError(
            f"{transform!r} was made for images of height {h} and width {w}, got an array of "
            f"shape {img.shape}"
        )


def _scale_points(coords: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
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
        return _scale_points(coords, self.new_w / self.w, self.new_h / self.h)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize by nearest neighbour."""
        return self.apply_image(segmentation, interp=NEAREST)

    def apply_rotated_box(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Scale (N, 5) boxes (x centre, y centre, width, height, angle in degrees).

        Under unequal scales a rotated rectangle becomes a parallelogram; the box keeps
        the scaled directions of its sides approximately, as ``RotatedBoxes.scale`` does.
        """
        scale_x, scale_y = self.new_w / self.w, self.new_h / self.h
        x, y, width, height, angle_deg = np.asarray(rotated_boxes).reshape(-1, 5).T
        cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        scaled = [
            x * scale_x,
            y * scale_y,
            width * np.hypot(scale_x * cos, scale_y * sin),
            height * np.hypot(scale_x * sin, scale_y * cos),
            np.rad2deg(np.arctan2(scale_x * sin, scale_y * cos)),
        ]
        return np.stack(scaled, axis=1).astype(np.asarray(rotated_boxes).dtype, copy=False)

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
        return _through_nchw(
            img,
            lambda batch: torch.nn.functional.interpolate(
                batch, (self.new_h, self.new_w), mode=mode, **options
            ),
        )

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale points by new size / old size."""
        return _scale_points(coords, self.new_w / self.w, self.new_h / self.h)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize by nearest neighbour."""
        return self.apply_image(segmentation, interp="nearest")

    def inverse(self) -> "ScaleTransform":
        """To resize back."""
        return ScaleTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class GridSampleTransform(Transform):
    """Sample an image at given places.

    Args:
        grid: (N, H, W, 2) places (x, y) for each output pixel, from −1 at the left and
            top edge of the input to 1 at its right and bottom edge.
        interp: "nearest" or "bilinear".
    """

    def __init__(self, grid: np.ndarray, interp: str) -> None:
        if np.ndim(grid) != 4 or np.shape(grid)[-1] != 2:
            raise ValueError(f"GridSampleTransform wants an (N, H, W, 2) grid, got {grid.shape}")
        self.grid = grid
        self.interp = interp

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:
        """Sample (H, W), (H, W, C) or (N, H, W, C); the border's values go on outside."""
        grid = torch.as_tensor(np.ascontiguousarray(self.grid), dtype=torch.float32)
        return _through_nchw(
            img,
            lambda batch: torch.nn.functional.grid_sample(
                batch,
                grid.to(batch.dtype),
                mode=self.interp if interp is None else interp,
                padding_mode="border",
                align_corners=False,
            ),
        )

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Not supported: the grid maps output to input only.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("GridSampleTransform cannot move points; its map is one-way")

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Sample by nearest neighbour."""
        return self.apply_image(segmentation, interp="nearest")


def _through_nchw(img: np.ndarray, op: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Apply a function of (N, C, H, W) float tensors; shape and dtype of ``img`` come back."""
    batch = img[None, ..., None] if img.ndim == 2 else img[None] if img.ndim == 3 else img
    floating = batch if batch.dtype in (np.float32, np.float64) else batch.astype(np.float32)
    result = op(torch.from_numpy(floating.transpose(0, 3, 1, 2).copy()))
    array = result.numpy().transpose(0, 2, 3, 1).astype(img.dtype, copy=False)
    return array[0, ..., 0] if img.ndim == 2 else array[0] if img.ndim == 3 else array


class ExtentTransform(Transform):
    """Scale a region of an image, which may reach beyond it, to a given size.

    Args:
        src_rect: the region (x0, y0, x1, y1) in pixels.
        output_size: (h, w) in pixels.
        interp: Pillow resampling method (no antialiasing when the region is shrunk).
        fill: colour of what lies outside the image.
    """

    def __init__(
        self,
        src_rect: Sequence[float] | np.ndarray,
        output_size: tuple[int, int],
        interp: int = BILINEAR,
        fill: int = 0,
    ) -> None:
        self.src_rect = src_rect
        self.output_size = output_size
        self.interp = interp
        self.fill = fill

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """The region of a uint8 or float (H, W) or (H, W, C), by ``interp`` when given."""
        h, w = self.output_size
        method = Image.Resampling(self.interp if interp is None else interp)

        def extract(channel: np.ndarray) -> np.ndarray:
            extracted = Image.fromarray(pillow_plane(channel)).transform(
                (w, h),
                Image.Transform.EXTENT,
                tuple(float(v) for v in self.src_rect),
                resample=method,
                fillcolor=self.fill,
            )
            return np.asarray(extracted).astype(channel.dtype, copy=False)

        return by_channel(img, extract)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points relative to the region, scaled to the output's size."""
        h, w = self.output_size
        x0, y0, x1, y1 = (float(v) for v in self.src_rect)
        moved = np.asarray(coords) - np.asarray([x0, y0], dtype=np.asarray(coords).dtype)
        return _scale_points(moved, w / (x1 - x0), h / (y1 - y0))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Extract by nearest neighbour."""
        return self.apply_image(segmentation, interp=NEAREST)
