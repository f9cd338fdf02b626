"""Masks given within boxes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bit_masks import BitMasks
from .boxes import Boxes
from .tensor_input import Index, check_same_type, host_array, join_rows, select_rows

__all__ = ["ROIMasks"]


class ROIMasks:
    """N small masks, each to be stretched over the box of its region: a mask head's output.

    Attributes:
        tensor: (N, M, M), floating scores in [0, 1], or bool.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Wrap masks of shape (N, M, M).

        Raises:
            TypeError: if ``tensor`` is not a tensor.
            ValueError: if it has not three dimensions.
        """
        if not isinstance(tensor, Tensor):
            raise TypeError(f"ROIMasks need a tensor, got {type(tensor).__name__}")
        if tensor.dim() != 3:
            raise ValueError(f"ROIMasks need shape (N, M, M), got {list(tensor.shape)}")
        self.tensor = tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "ROIMasks":
        """The same masks on ``device``."""
        return ROIMasks(self.tensor.to(device=device, non_blocking=non_blocking))

    @property
    def device(self) -> torch.device:
        """Where the masks live."""
        return self.tensor.device

    def to_bitmasks(
        self, boxes: Tensor | Boxes, height: int, width: int, threshold: float = 0.5
    ) -> BitMasks:
        """Paste the masks into an image.

        Args:
            boxes: (N, 4) corners in pixels, or Boxes: where each mask lies.
            height: of the image in pixels.
            width: of the image in pixels.
            threshold: pixels whose bilinear sample reaches it are set.

        Returns:
            N masks of (height, width).
        """
        from d2_ops import paste_masks_in_image

        scores = self.tensor if self.tensor.is_floating_point() else self.tensor.float()
        return BitMasks(paste_masks_in_image(scores, boxes, (height, width), threshold))

    def __getitem__(self, item: Index) -> "ROIMasks":
        """Select masks by an int (gives one), a slice, ints or a bool vector.

        The result may share storage with this object, by torch's indexing rules.
        """
        if isinstance(item, int):
            return ROIMasks(self.tensor[item].unsqueeze(0))
        return ROIMasks(select_rows(self.tensor, item, "ROIMasks"))

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return host_array(self.tensor, dtype, copy)

    def __repr__(self) -> str:
        count, height, width = self.tensor.shape
        return f"ROIMasks(num_instances={count}, mask_height={height}, mask_width={width})"

    @staticmethod
    def cat(roi_masks_list: list["ROIMasks"]) -> "ROIMasks":
        """Join several ROIMasks of one size, in order.

        Raises:
            TypeError: if an element is not ROIMasks.
            ValueError: if the list is empty, or the sizes differ.
        """
        check_same_type(roi_masks_list, ROIMasks, "ROIMasks.cat")
        if len(roi_masks_list) == 0:
            raise ValueError("ROIMasks.cat needs at least one ROIMasks: it gives the size")
        return ROIMasks(join_rows([masks.tensor for masks in roi_masks_list], "ROIMasks.cat"))
