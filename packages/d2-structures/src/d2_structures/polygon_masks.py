"""Masks as polygons."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from d2_ops import host

from .boxes import Boxes
from .tensor_input import Index, check_same_type, is_read_at_once, selected_positions

__all__ = ["PolygonMasks", "polygons_to_bitmask"]

Polygon = np.ndarray


def polygons_to_bitmask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Draw the union of polygons, exactly as pycocotools does.

    Args:
        polygons: each a flat (x0, y0, x1, y1, …) of at least three points, in continuous pixel
            coordinates; may reach out of the image. An empty list gives an empty mask.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: for a polygon with an odd number of coordinates, fewer than six, or one that
            is not finite, or a negative image size.
    """
    return host.polygons_to_bitmask(polygons, height, width)


class PolygonMasks:
    """The masks of N instances, each a list of polygons.

    Attributes:
        polygons: one list per instance, of float64 vectors (x0, y0, x1, y1, …) in continuous
            pixel coordinates.

    The polygons live on the host; methods that return tensors do so on the CPU unless they are
    given boxes, whose device they then use.
    """

    def __init__(self, polygons: Sequence[Sequence[Any]]) -> None:
        """Wrap polygons, converting them to float64 vectors.

        Args:
            polygons: instances → polygons → coordinates; an array, a tensor or a list of at
                least six numbers each. COCO's ``"segmentation"`` lists fit as they are.

        Raises:
            TypeError: if the nesting is not instances → polygons → coordinates.
            ValueError: for a polygon with an odd number of coordinates, fewer than six, or NaN
                or infinity.
        """
        if not isinstance(polygons, (list, tuple)):
            raise TypeError(
                "PolygonMasks needs one list of polygons per instance, got "
                f"{type(polygons).__name__}"
            )
        self.polygons: list[list[Polygon]] = [
            _checked_instance(instance, i) for i, instance in enumerate(polygons)
        ]

    def to(self, *args: Any, **kwargs: Any) -> "PolygonMasks":
        """The object itself: polygons stay on the host."""
        return self

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes around the masks; all zero for an instance without polygons."""
        return Boxes(torch.from_numpy(self._extremes().astype(np.float32)))

    def nonempty(self) -> Tensor:
        """(N,) bool: whether an instance has any polygon."""
        return torch.tensor([len(instance) > 0 for instance in self.polygons], dtype=torch.bool)

    def area(self) -> Tensor:
        """(N,) float64 areas in square pixels by the shoelace formula.

        The areas of an instance's polygons are added: where they overlap, that counts twice.
        """
        areas = [sum(map(_shoelace_area, instance), 0.0) for instance in self.polygons]
        return torch.tensor(areas, dtype=torch.float64)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Draw each mask within its box, stretched to a square: Mask R-CNN's training targets.

        Args:
            boxes: (N, 4) corners in pixels, one box per instance.
            mask_size: side of the square in pixels.

        Returns:
            (N, mask_size, mask_size) bool on the device of ``boxes``.

        Raises:
            TypeError: if the boxes are no tensor, or ``mask_size`` is not whole.
            ValueError: if there is not one box per instance, or ``mask_size`` is not positive.
        """
        check_crop_arguments(boxes, mask_size, len(self))
        polygons, corners = self._with_corners(boxes.detach().to(torch.float32))
        masks = host.crop_and_resize_polygons(
            polygons, corners, mask_size, num_threads=torch.get_num_threads()
        )
        return torch.from_numpy(masks).to(boxes.device, non_blocking=True)

    def __getitem__(self, item: Index) -> "PolygonMasks":
        """Select instances by an int, a slice, ints, or a bool vector with one per instance.

        Ints on a device are not looked at before the polygons are.

        Raises:
            IndexError: for an instance that is not there, or a bool vector of another length.
        """
        if type(self) is PolygonMasks and _may_be_looked_at_later(item):
            return _ChosenLater(self.polygons, item)
        if isinstance(item, slice):
            return self._pick(self.polygons[item])
        if isinstance(item, (int, np.integer)):
            return self._pick([self.polygons[item]])
        return self._pick([self.polygons[i] for i in selected_positions(item, len(self))])

    def __len__(self) -> int:
        return len(self.polygons)

    def __iter__(self) -> Iterator[list[Polygon]]:
        """Yield the polygons of one instance at a time."""
        return iter(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"

    @staticmethod
    def cat(polymasks_list: list["PolygonMasks"]) -> "PolygonMasks":
        """Join several PolygonMasks, in order.

        Raises:
            TypeError: if an element is not PolygonMasks.
        """
        check_same_type(polymasks_list, PolygonMasks, "PolygonMasks.cat")
        later = [masks for masks in polymasks_list if isinstance(masks, _ChosenLater)]
        if later and len(later) == len(polymasks_list):
            return _ChosenLater.joined(later)
        joined = PolygonMasks([])
        for masks in polymasks_list:
            joined.polygons.extend(masks.polygons)
        return joined

    def _pick(self, polygons: list[list[Polygon]]) -> "PolygonMasks":
        """PolygonMasks of polygons that are known to be good."""
        picked = type(self)([])
        picked.polygons = polygons
        return picked

    def _with_corners(self, boxes: Tensor) -> tuple[list[list[Polygon]], np.ndarray]:
        """The polygons, and float32 boxes as they are on the host."""
        return self.polygons, boxes.cpu().numpy()

    def _extremes(self) -> np.ndarray:
        """(N, 4) float64 x1, y1, x2, y2 of the coordinates; zero where there are none."""
        extremes = np.zeros((len(self), 4))
        filled = [i for i, instance in enumerate(self.polygons) if instance]
        if not filled:
            return extremes
        sizes = [sum(len(p) for p in self.polygons[i]) // 2 for i in filled]
        points = np.concatenate([p for i in filled for p in self.polygons[i]]).reshape(-1, 2)
        starts = np.cumsum([0, *sizes[:-1]])
        extremes[filled, :2] = np.minimum.reduceat(points, starts)
        extremes[filled, 2:] = np.maximum.reduceat(points, starts)
        return extremes


class _ChosenLater(PolygonMasks):
    """A choice of polygons by numbers on a device, for which the host would have to wait."""

    def __init__(self, everything: list[list[Polygon]], chosen: Tensor) -> None:
        self._everything, self._chosen = everything, chosen

    @cached_property
    def polygons(self) -> list[list[Polygon]]:  # type: ignore[override]  # an attribute there
        return [self._everything[i] for i in self._chosen.tolist()]

    @staticmethod
    def joined(parts: Sequence["_ChosenLater"]) -> "_ChosenLater":
        starts = accumulate((len(part._everything) for part in parts), initial=0)
        chosen = [part._chosen + start for part, start in zip(parts, starts, strict=False)]
        everything = [instance for part in parts for instance in part._everything]
        return _ChosenLater(everything, torch.cat(chosen))

    def __getitem__(self, item: Index) -> PolygonMasks:
        if isinstance(item, slice) or _may_be_looked_at_later(item):
            return _ChosenLater(self._everything, self._chosen[item])
        return self._plain()[item]

    def __len__(self) -> int:
        return len(self._chosen)

    def __reduce__(self) -> Any:
        return _plain_polygons, (self.polygons,)

    def _plain(self) -> PolygonMasks:
        return _plain_polygons(self.polygons)

    def _with_corners(self, boxes: Tensor) -> tuple[list[list[Polygon]], np.ndarray]:
        # In one copy; doubles hold all of these numbers exactly.
        both = torch.cat([self._chosen[:, None].double(), boxes.double()], dim=1).cpu().numpy()
        polygons = [self._everything[i] for i in both[:, 0].astype(np.int64)]
        return polygons, both[:, 1:].astype(np.float32)


def _plain_polygons(polygons: list[list[Polygon]]) -> PolygonMasks:
    return PolygonMasks([])._pick(polygons)


def _may_be_looked_at_later(item: Any) -> TypeGuard[Tensor]:
    integers = (torch.int16, torch.int32, torch.int64)
    return (
        isinstance(item, Tensor)
        and item.dim() == 1
        and item.dtype in integers
        and not is_read_at_once(item.device)
    )


def check_crop_arguments(boxes: Tensor, mask_size: int, count: int) -> None:
    """Check what the ``crop_and_resize`` methods take."""
    if not isinstance(boxes, Tensor):
        raise TypeError(
            f"crop_and_resize needs boxes as a tensor of shape ({count}, 4), got "
            f"{type(boxes).__name__}"
        )
    if not isinstance(mask_size, (int, np.integer)):
        raise TypeError(f"mask_size must be a whole number, got {mask_size!r}")
    if boxes.dim() != 2 or boxes.shape[1] != 4 or boxes.shape[0] != count:
        raise ValueError(
            f"crop_and_resize needs one box per mask, shape ({count}, 4), got {list(boxes.shape)}"
        )
    if mask_size <= 0:
        raise ValueError(f"mask_size must be positive, got {mask_size}")


def _checked_instance(instance: Any, position: int) -> list[Polygon]:
    if not isinstance(instance, (list, tuple)):
        raise TypeError(
            f"instance {position} must be a list of polygons, got {type(instance).__name__}"
        )
    return [_checked_polygon(polygon, position, i) for i, polygon in enumerate(instance)]


def _checked_polygon(polygon: Any, position: int, index: int) -> Polygon:
    where = f"polygon {index} of instance {position}"
    if isinstance(polygon, Tensor):
        polygon = polygon.detach().cpu().numpy()
    try:
        coordinates = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} must be a vector of numbers, got {polygon!r:.100}") from error
    if coordinates.ndim == 0:
        raise TypeError(f"{where} must be a vector of numbers, got the number {polygon!r}")
    if coordinates.ndim != 1 or len(coordinates) < 6 or len(coordinates) % 2:
        raise ValueError(
            f"{where} must hold 6, 8, 10, … coordinates (x0, y0, x1, y1, …), got shape "
            f"{list(coordinates.shape)}"
        )
    if not np.isfinite(coordinates).all():
        raise ValueError(f"{where} holds NaN or infinity")
    return coordinates


def _shoelace_area(polygon: Polygon) -> float:
    x, y = polygon[0::2], polygon[1::2]
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))
