"""Keypoint annotations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .tensor_input import Index, check_finite, check_same_type, host_array, join_rows, select_rows

__all__ = ["Keypoints"]


class Keypoints:
    """The keypoints of N instances, K each.

    Attributes:
        tensor: (N, K, 3) float32 of (x, y, visibility), x and y in continuous pixel coordinates.
            The visibility is COCO's: 0 not labelled (then x = y = 0), 1 labelled but hidden,
            2 labelled and visible.
    """

    def __init__(self, keypoints: Tensor | np.ndarray | Sequence[Any]) -> None:
        """Wrap keypoints.

        Args:
            keypoints: (N, K, 3) tensor, array or nested lists.

        Raises:
            TypeError: if they are not numbers.
            ValueError: if the shape is not (N, K, 3), or a list or array holds NaN or infinity.
        """
        try:
            tensor = torch.as_tensor(keypoints, dtype=torch.float32)
        except (TypeError, ValueError) as error:
            raise TypeError(f"Keypoints need numbers of shape (N, K, 3): {error}") from error
        if tensor.dim() != 3 or tensor.shape[2] != 3:
            raise ValueError(f"Keypoints need shape (N, K, 3), got {list(tensor.shape)}")
        if not isinstance(keypoints, Tensor):
            check_finite(tensor, "Keypoints")
        self.tensor: Tensor = tensor

    def to(self, *args: Any, **kwargs: Any) -> "Keypoints":
        """The same keypoints after ``tensor.to(*args, **kwargs)``."""
        return type(self)(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the keypoints live."""
        return self.tensor.device

    def to_heatmap(self, boxes: Tensor, heatmap_size: int) -> tuple[Tensor, Tensor]:
        """Find the cell of each keypoint in a square grid over its instance's box.

        A cell [d, d + 1) holds the coordinates that round down to d; a keypoint on the right or
        the bottom edge of the box belongs to the last cell.

        Args:
            boxes: (N, 4) corners in pixels, one box per instance.
            heatmap_size: cells along either side of the grid.

        Returns:
            Two (N, K) int64 tensors. First the cell's number, row by row, in
            [0, heatmap_size² - 1], and 0 where the second is 0. Then 1 where the keypoint is
            labelled and lies in the box.

        Raises:
            ValueError: if there is not one box per instance, or the size is not positive.

        Source: He et al., "Mask R-CNN", 2017, section 5; Heckbert, "What are the coordinates of
        a pixel?", 1990.
        """
        count = self.tensor.shape[0]  # not `len`, which an export would take for a constant
        if boxes.dim() != 2 or boxes.shape[1] != 4 or boxes.shape[0] != count:
            raise ValueError(
                f"to_heatmap needs one box per instance, shape ({count}, 4), got "
                f"{list(boxes.shape)}"
            )
        if heatmap_size <= 0:
            raise ValueError(f"heatmap_size must be positive, got {heatmap_size}")
        start, stop = boxes[:, None, :2], boxes[:, None, 2:]
        points = self.tensor[:, :, :2]
        cells = ((points - start) * (heatmap_size / (stop - start))).floor()
        cells = torch.where(points == stop, heatmap_size - 1, cells)
        inside = ((cells >= 0) & (cells < heatmap_size)).all(dim=2)
        valid = inside & (self.tensor[:, :, 2] > 0)
        cells = torch.where(valid[:, :, None], cells, 0).to(torch.int64)
        return cells[:, :, 1] * heatmap_size + cells[:, :, 0], valid.to(torch.int64)

    def __getitem__(self, item: Index) -> "Keypoints":
        """Select instances by an int (gives one), a slice, ints or a bool vector.

        The result may share storage with this object, by torch's indexing rules.
        """
        if isinstance(item, int):
            return type(self)(self.tensor[item].unsqueeze(0))
        return type(self)(select_rows(self.tensor, item, "Keypoints"))

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return host_array(self.tensor, dtype, copy)

    def __repr__(self) -> str:
        count, points, _ = self.tensor.shape
        return f"Keypoints(num_instances={count}, num_keypoints={points})"

    @staticmethod
    def cat(keypoints_list: list["Keypoints"]) -> "Keypoints":
        """Join several Keypoints with the same K, in order.

        Raises:
            TypeError: if an element is not Keypoints.
            ValueError: if the list is empty, or the numbers K differ.
        """
        check_same_type(keypoints_list, Keypoints, "Keypoints.cat")
        if len(keypoints_list) == 0:
            raise ValueError("Keypoints.cat needs at least one Keypoints: it gives the number K")
        tensors = [keypoints.tensor for keypoints in keypoints_list]
        return Keypoints(join_rows(tensors, "Keypoints.cat"))
