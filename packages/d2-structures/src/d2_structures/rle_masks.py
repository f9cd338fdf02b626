"""Masks that stay compressed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2_ops import host

from .bit_masks import BitMasks
from .box_mode import BoxMode
from .boxes import Boxes
from .polygon_masks import PolygonMasks, check_crop_arguments
from .tensor_input import (
    Index,
    check_same_type,
    checked_image_size,
    host_array,
    selected_positions,
)

__all__ = ["RLEMasks"]


class RLEMasks:
    """The masks of N instances of one image, run-length encoded as COCO does.

    A mask takes some hundred bytes instead of one per pixel, and is selected, measured, compared
    and cropped as it is. The masks live on the host; methods that return tensors do so on the CPU
    unless they are given boxes, whose device they then use.

    Attributes:
        rles: one ``{"size": [height, width], "counts": bytes}`` per instance, to be read only.
        image_size: (height, width) of the image in pixels.
    """

    rles: list[host.RLE]
    image_size: tuple[int, int]

    def __init__(
        self, rles: Sequence[Mapping[str, Any]], image_size: tuple[int, int] | None = None
    ) -> None:
        """Check encoded masks, and compress those whose counts are plain lengths.

        Args:
            rles: COCO's dicts: ``size`` and ``counts``, which is bytes, text or a list of lengths.
            image_size: (height, width) of the image; needed where there are no masks.

        Raises:
            ValueError: if counts are not those of a mask of that size, sizes differ, or there are
                neither masks nor a size.
            KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
        """
        if isinstance(rles, (str, bytes, Mapping)) or not hasattr(rles, "__len__"):
            raise TypeError(f"RLEMasks need a list of RLE dicts, got {type(rles).__name__}")
        compressed = host.rle_compress(rles, num_threads=torch.get_num_threads())
        if image_size is None:
            if not compressed:
                raise ValueError("RLEMasks without masks need an image_size (height, width)")
            image_size = compressed[0]["size"]
        height, width = (int(side) for side in checked_image_size(image_size))
        for i, rle in enumerate(compressed):
            if rle["size"] != [height, width]:
                raise ValueError(f"RLE {i} has size {rle['size']}, wanted {[height, width]}")
        self.rles = compressed
        self.image_size = height, width

    @staticmethod
    def from_bitmasks(masks: BitMasks | Tensor | np.ndarray) -> "RLEMasks":
        """Encode bitmaps.

        Args:
            masks: BitMasks, or what they are made of: (N, H, W) bool or integers.
        """
        bitmasks = masks if isinstance(masks, BitMasks) else BitMasks(masks)
        return _unchecked(bitmasks.to_rle(), bitmasks.image_size)

    @staticmethod
    def from_polygon_masks(
        polygon_masks: PolygonMasks | Sequence[Sequence[Any]], height: int, width: int
    ) -> "RLEMasks":
        """Encode polygons, drawn exactly as pycocotools does, without making bitmaps.

        Args:
            polygon_masks: PolygonMasks, or what they are made of.
            height: of the image in pixels.
            width: of the image in pixels.
        """
        if not isinstance(polygon_masks, PolygonMasks):
            polygon_masks = PolygonMasks(polygon_masks)
        threads = torch.get_num_threads()
        rles = host.polygons_to_rles(polygon_masks.polygons, height, width, num_threads=threads)
        return _unchecked(rles, (height, width))

    def to_bitmasks(self) -> BitMasks:
        """The decoded masks."""
        return BitMasks.from_rle(self.rles, *self.image_size)

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO's dicts, ``{"size": [h, w], "counts": bytes}``, the caller's own."""
        return [{"size": [*rle["size"]], "counts": rle["counts"]} for rle in self.rles]

    def to(self, *args: Any, **kwargs: Any) -> "RLEMasks":
        """The object itself: encoded masks stay on the host."""
        return self

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def area(self) -> Tensor:
        """(N,) int64 numbers of set pixels."""
        return torch.from_numpy(host.rle_area(self.rles, num_threads=torch.get_num_threads()))

    def nonempty(self) -> Tensor:
        """(N,) bool: whether any pixel is set."""
        return self.area() > 0

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes around the set pixels, as `BitMasks.get_bounding_boxes`."""
        boxes = host.rle_bounding_boxes(self.rles, num_threads=torch.get_num_threads())
        return Boxes(BoxMode.convert(torch.from_numpy(boxes), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))

    def iou(
        self, others: "RLEMasks", iscrowd: Tensor | np.ndarray | Sequence[Any] | None = None
    ) -> Tensor:
        """Overlap of every mask with every one of ``others``, equal to pycocotools'.

        Args:
            others: M masks of the same image size.
            iscrowd: M flags: with a crowd region, shared pixels are divided by the pixels of this
                object's mask instead of by those of both. None means no crowds.

        Returns:
            (N, M) float64; 0 where neither has a pixel.

        Raises:
            TypeError: if ``others`` are not RLEMasks.
            ValueError: if the image sizes differ, or there is not one flag per other mask.
        """
        if not isinstance(others, RLEMasks):
            raise TypeError(f"RLEMasks.iou needs RLEMasks, got {type(others).__name__}")
        if others.image_size != self.image_size:
            raise ValueError(
                f"RLEMasks.iou compares masks of one image size, got {self.image_size} and "
                f"{others.image_size}"
            )
        flags = iscrowd.cpu().numpy() if isinstance(iscrowd, Tensor) else iscrowd
        threads = torch.get_num_threads()
        overlaps = host.rle_iou(self.rles, others.rles, flags, num_threads=threads)
        return torch.from_numpy(overlaps)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """`BitMasks.crop_and_resize` of the decoded masks, decoding no more than the crops.

        Args:
            boxes: (N, 4) corners in pixels, one box per mask.
            mask_size: side of the square in pixels.

        Returns:
            (N, mask_size, mask_size) bool on the device of ``boxes``.

        Raises:
            ValueError: if there is not one box per mask, or ``mask_size`` is not positive.
        """
        check_crop_arguments(boxes, mask_size, len(self))
        corners = boxes.detach().to("cpu", torch.float32).numpy()
        threads = torch.get_num_threads()
        crops = host.crop_and_resize_rles(self.rles, corners, mask_size, num_threads=threads)
        return torch.from_numpy(crops).to(boxes.device, non_blocking=True)

    @staticmethod
    def cat(rle_masks_list: list["RLEMasks"]) -> "RLEMasks":
        """Join several RLEMasks of one image size, in order.

        Raises:
            TypeError: if an element is not RLEMasks.
            ValueError: if the list is empty, or image sizes differ.
        """
        check_same_type(rle_masks_list, RLEMasks, "RLEMasks.cat")
        if len(rle_masks_list) == 0:
            raise ValueError("RLEMasks.cat needs at least one RLEMasks: it gives the image size")
        sizes = {masks.image_size for masks in rle_masks_list}
        if len(sizes) > 1:
            raise ValueError(f"RLEMasks.cat joins masks of one image size, got {sorted(sizes)}")
        return _unchecked([rle for masks in rle_masks_list for rle in masks.rles], sizes.pop())

    def __getitem__(self, item: Index) -> "RLEMasks":
        """Select masks by an int (gives one), a slice, ints, or a bool vector.

        Raises:
            IndexError: for a mask that is not there, or a bool vector of another length.
        """
        if isinstance(item, slice):
            return _unchecked(self.rles[item], self.image_size)
        if isinstance(item, (int, np.integer)):
            return _unchecked([self.rles[item]], self.image_size)
        picked = [self.rles[i] for i in selected_positions(item, len(self))]
        return _unchecked(picked, self.image_size)

    def __iter__(self) -> Iterator[host.RLE]:
        """Yield one RLE dict per mask."""
        return iter(self.rles)

    def __len__(self) -> int:
        return len(self.rles)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return host_array(self.to_bitmasks().tensor, dtype, copy)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"RLEMasks(num_instances={len(self)}, height={height}, width={width})"


def _unchecked(rles: Sequence[Any], image_size: tuple[int, int]) -> RLEMasks:
    """RLEMasks of dicts that are known to be good."""
    masks = RLEMasks([], image_size)
    masks.rles = list(rles)
    return masks
