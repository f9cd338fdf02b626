"""Rotated boxes and how they overlap."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .boxes import Boxes
from .tensor_input import (
    Index,
    TensorLike,
    as_row_matrix,
    check_box_size,
    check_factors,
    check_finite,
)

__all__ = ["RotatedBoxes", "pairwise_iou_rotated"]


class RotatedBoxes(Boxes):
    """N rotated boxes of one image.

    Attributes:
        tensor: (N, 5) float32 (x_center, y_center, width, height, angle): pixels, and degrees by
            which the axis-aligned box of that centre and size is turned counter-clockwise as the
            picture is seen. Any angle is allowed; [-180, 180) is the usual range.

    With y pointing down, a point (u, v) relative to the centre of the upright box goes to
    (u cos + v sin, v cos - u sin). The box (5, 3, 4, 2, 90) covers [4, 6] x [1, 5], and so does
    (5, 3, 4, 2, -90): their overlap is complete, yet they are different boxes to whoever pools
    features along the sides.

    Behaves like a sequence, as `Boxes` does.
    """

    def __init__(self, tensor: TensorLike) -> None:
        """Wrap a matrix of boxes.

        Args:
            tensor: (N, 5) numbers, each row (x_center, y_center, width, height, angle). Taken as
                by `Boxes`: a float32 tensor is kept, other tensors, arrays and lists converted.

        Raises:
            TypeError: for a bool or complex tensor, which no box list can be.
            ValueError: if the shape is not (N, 5), or a list or array holds NaN or infinity.
        """
        self.tensor: Tensor = as_row_matrix(tensor, 5, "RotatedBoxes")

    def _with(self, tensor: Tensor) -> "RotatedBoxes":
        return type(self)(tensor)

    if TYPE_CHECKING:  # inherited, and giving rotated boxes; scripting keeps Self out of Boxes

        def clone(self) -> "RotatedBoxes": ...
        def to(self, device: torch.device, non_blocking: bool = False) -> "RotatedBoxes": ...
        def __getitem__(self, item: Index) -> "RotatedBoxes": ...
        @classmethod
        def cat(cls, boxes_list: list["RotatedBoxes"]) -> "RotatedBoxes": ...  # type: ignore[override]  # joins its own kind

    def area(self) -> Tensor:
        """(N,) areas in square pixels; negative where exactly one side is negative."""
        return self.tensor[:, 2] * self.tensor[:, 3]

    def normalize_angles(self) -> None:
        """Bring angles into [-180, 180) by whole turns, in place.

        As with `clip`, ``tensor`` is replaced and a tensor that was passed in stays as it was.
        """
        angles = self.tensor[:, 4:] % 360.0
        angles = torch.where(angles < 180.0, angles, angles - 360.0)
        self.tensor = torch.cat((self.tensor[:, :4], angles), dim=1)

    def clip(self, box_size: tuple[int, int], clip_angle_threshold: float = 1.0) -> None:
        """Limit nearly upright boxes to x in [0, width] and y in [0, height], in place.

        Boxes turned further keep their size and may reach out of the image: there is no one way
        to make them fit that loses nothing of the object. All angles are brought into
        [-180, 180). ``tensor`` is replaced, not overwritten.

        Args:
            box_size: (height, width) in pixels.
            clip_angle_threshold: degrees; boxes whose angle is at most this far from 0 are
                clipped as if it was 0.

        Raises:
            ValueError: if a box holds NaN or infinity, or the size is negative.
        """
        check_box_size(box_size, "box_size")
        check_finite(self.tensor, "RotatedBoxes")
        self.normalize_angles()
        size = self.tensor.new_tensor([box_size[1], box_size[0]])
        centers, sides, angles = self.tensor.split([2, 2, 1], dim=1)
        low = torch.minimum((centers - sides / 2).clamp(min=0), size)
        high = torch.minimum((centers + sides / 2).clamp(min=0), size)
        # Rounding must not make a side longer.
        clipped = torch.cat(((low + high) / 2, torch.minimum(high - low, sides), angles), dim=1)
        self.tensor = torch.where(angles.abs() <= clip_angle_threshold, clipped, self.tensor)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: True where both sides are longer than ``threshold`` pixels."""
        return (self.tensor[:, 2:4] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """Find the boxes that lie within an image with all of their corners.

        Args:
            box_size: (height, width) of the reference box, which starts at (0, 0).
            boundary_threshold: how many pixels a box may reach beyond the reference box.

        Returns:
            (N,) bool.

        Raises:
            ValueError: if the size is negative.
        """
        check_box_size(box_size, "box_size")
        size = self.tensor.new_tensor([box_size[1], box_size[0]])
        centers, (width, height) = self.tensor[:, :2], self.tensor[:, 2:4].unbind(dim=1)
        radians = self.tensor[:, 4].deg2rad()
        cos, sin = radians.cos().abs(), radians.sin().abs()
        reach = torch.stack((cos * width + sin * height, sin * width + cos * height), dim=1) / 2
        fits = (centers - reach >= -boundary_threshold) & (
            centers + reach <= size + boundary_threshold
        )
        return fits.all(dim=1)

    def get_centers(self) -> Tensor:
        """(N, 2) centres (x, y) in pixels."""
        return self.tensor[:, :2]

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Stretch along the axes of the image, in place.

        Under unequal factors a rectangle that is not turned by multiples of 90 degrees becomes a
        parallelogram. The box gets the lengths of its sides, and its height the parallelogram's
        direction. As with `clip`, ``tensor`` is replaced.

        Raises:
            ValueError: for factors that are not finite.
        """
        check_factors(scale_x, scale_y)
        x, y, width, height, angle = self.tensor.unbind(dim=1)
        radians = angle.deg2rad()
        cos, sin = radians.cos(), radians.sin()
        # The width points along (cos, -sin), the height along (sin, cos).
        width = width * torch.hypot(scale_x * cos, scale_y * sin)
        height = height * torch.hypot(scale_x * sin, scale_y * cos)
        angle = torch.atan2(scale_x * sin, scale_y * cos).rad2deg()
        self.tensor = torch.stack((x * scale_x, y * scale_y, width, height, angle), dim=1)

    def __repr__(self) -> str:
        return f"RotatedBoxes({self.tensor})"


def pairwise_iou_rotated(boxes1: RotatedBoxes, boxes2: RotatedBoxes) -> Tensor:
    """Intersection over union between all pairs of rotated boxes.

    Args:
        boxes1: N boxes.
        boxes2: M boxes.

    Returns:
        (N, M) in [0, 1]; 0 where the boxes do not meet, also for boxes without area, and NaN for
        boxes that are not finite. Only the covered areas count, not which side is the width. Not
        differentiable.
    """
    from d2_ops import box_iou_rotated

    return box_iou_rotated(boxes1.tensor, boxes2.tensor)
