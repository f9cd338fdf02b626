"""Sampling an image at given places."""

import numpy as np
import torch

from d2_data.transforms.resampling import through_nchw
from d2_data.transforms.transform import Transform

__all__ = ["GridSampleTransform"]


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
        return through_nchw(
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
