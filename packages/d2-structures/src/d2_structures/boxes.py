"""Axis-aligned boxes.

TorchScript compiles this module when a scripted model uses `Boxes`: annotations are objects, not
strings, and what TorchScript does not know is marked unused.
"""

from typing import Any

import torch
from torch import Tensor

from .tensor_input import (
    Index,
    TensorIterator,
    TensorLike,
    as_row_matrix,
    check_box_size,
    check_factors,
    check_finite,
    check_same_type,
    host_array,
    join_rows,
    select_rows,
)

__all__ = ["Boxes"]


class Boxes:
    """N axis-aligned boxes of one image.

    Attributes:
        tensor: (N, 4) float32, corners (x1, y1, x2, y2) in continuous pixel coordinates: the
            origin is the top-left corner of the top-left pixel, and width = x2 - x1.

    A Boxes behaves like a sequence: it has a length, can be indexed with anything that indexes
    the rows of a tensor, and yields one (4,) tensor per box when iterated.
    """

    def __init__(self, tensor: TensorLike) -> None:
        """Wrap a matrix of boxes.

        Args:
            tensor: (N, 4) numbers, each row (x1, y1, x2, y2) in pixels. A float32 tensor is kept
                as it is (storage shared, gradients kept), other numeric tensors are converted.
                Nested lists and NumPy arrays are taken too and must be finite. Anything with no
                elements gives zero boxes.

        Raises:
            TypeError: for a bool or complex tensor, which no box list can be.
            ValueError: if the shape is not (N, 4), or a list or array holds NaN or infinity.
        """
        self.tensor: Tensor = as_row_matrix(tensor, 4, "Boxes")

    def _with(self, tensor: Tensor) -> "Boxes":
        """Boxes of this kind: subclasses override it, for scripting knows no ``type(self)``."""
        return Boxes(tensor)

    def clone(self) -> "Boxes":
        """A copy with its own storage; gradients flow through it."""
        return self._with(self.tensor.clone())

    def to(self, device: torch.device, non_blocking: bool = False) -> "Boxes":
        """The same boxes on ``device``."""
        return self._with(self.tensor.to(device=device, non_blocking=non_blocking))

    def area(self) -> Tensor:
        """(N,) areas in square pixels; negative where exactly one side is negative."""
        box = self.tensor
        return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limit x to [0, width] and y to [0, height], in place.

        ``tensor`` is replaced, not overwritten: a tensor that was passed in stays as it was.

        Args:
            box_size: (height, width) in pixels.

        Raises:
            ValueError: if a box holds NaN or infinity, or the size is negative.
        """
        check_box_size(box_size, "box_size")
        check_finite(self.tensor, "Boxes")
        if not torch.jit.is_scripting():
            recorded: Any = box_size
            if isinstance(recorded[0], Tensor):  # as a number it would be constant in a trace
                limits = torch.stack((recorded[1], recorded[0])).to(self.tensor).repeat(2)
                self.tensor = torch.minimum(self.tensor.clamp(min=0), limits)
                return
        height, width = box_size
        x1 = self.tensor[:, 0].clamp(min=0, max=width)
        y1 = self.tensor[:, 1].clamp(min=0, max=height)
        x2 = self.tensor[:, 2].clamp(min=0, max=width)
        y2 = self.tensor[:, 3].clamp(min=0, max=height)
        self.tensor = torch.stack((x1, y1, x2, y2), dim=1)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: True where both sides are longer than ``threshold`` pixels."""
        box = self.tensor
        return (box[:, 2] - box[:, 0] > threshold) & (box[:, 3] - box[:, 1] > threshold)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Find the boxes that lie within an image.

        Args:
            box_size: (height, width) of the reference box, which starts at (0, 0).
            boundary_threshold: how many pixels a box may reach beyond the reference box.

        Returns:
            (N,) bool.

        Raises:
            ValueError: if the size is negative.
        """
        check_box_size(box_size, "box_size")
        height, width = box_size
        box = self.tensor
        return (
            (box[:, 0] >= -boundary_threshold)
            & (box[:, 1] >= -boundary_threshold)
            & (box[:, 2] <= width + boundary_threshold)
            & (box[:, 3] <= height + boundary_threshold)
        )

    def get_centers(self) -> Tensor:
        """(N, 2) centres (x, y) in pixels."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply x coordinates by ``scale_x`` and y coordinates by ``scale_y``, in place.

        As with `clip`, ``tensor`` is replaced and a tensor that was passed in stays as it was.

        Raises:
            ValueError: for factors that are not finite.
        """
        if not torch.jit.is_scripting():
            check_factors(scale_x, scale_y)
        x1, y1, x2, y2 = self.tensor.unbind(dim=1)
        self.tensor = torch.stack((x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y), dim=1)

    def __getitem__(self, item: Index) -> "Boxes":
        """Select boxes.

        Args:
            item: an int (gives a list of one box), a slice, an int vector or a bool vector
                with one element per box.

        Returns:
            Boxes of this kind that may share storage with this one, by torch's indexing rules.

        Raises:
            ValueError: if the index would take the rows apart.
        """
        if isinstance(item, int):
            return self._with(self.tensor[item].view(1, -1))
        return self._with(select_rows(self.tensor, item, "boxes"))

    def __len__(self) -> int:
        return self.tensor.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the boxes live."""
        return self.tensor.device

    def __repr__(self) -> str:
        return "Boxes(" + str(self.tensor) + ")"

    @classmethod
    @torch.jit.unused
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """Join several box lists of this kind, in order; an empty one gives zero boxes.

        Raises:
            TypeError: if an element is no box list.
            ValueError: if an element is of another kind.
        """
        check_same_type(boxes_list, cls, f"{cls.__name__}.cat")
        if len(boxes_list) == 0:
            return cls(torch.empty(0))
        return cls(join_rows([boxes.tensor for boxes in boxes_list], f"{cls.__name__}.cat"))

    @torch.jit.unused
    def __iter__(self) -> TensorIterator:
        """Yield one (4,) tensor per box."""
        yield from self.tensor

    @torch.jit.unused
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return host_array(self.tensor, dtype, copy)
