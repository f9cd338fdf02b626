"""Masks as bitmaps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from d2_ops import host

from .box_mode import BoxMode
from .boxes import Boxes
from .polygon_masks import PolygonMasks, check_crop_arguments
from .tensor_input import Index, check_same_type, host_array, join_rows, on_host, select_rows

if TYPE_CHECKING:
    from .roi_masks import ROIMasks

__all__ = ["BitMasks"]


class BitMasks:
    """The masks of N instances of one image, each as large as the image.

    Attributes:
        tensor: (N, H, W) bool.
    """

    def __init__(self, tensor: Tensor | np.ndarray) -> None:
        """Wrap bitmaps.

        Args:
            tensor: (N, H, W) tensor or array, bool or integer (what is not 0 is set), or
                floats that are all 0 or 1.

        Raises:
            TypeError: for floating numbers other than 0 and 1, whose threshold only the caller
                knows, and for what is no array of numbers.
            ValueError: if there are not three dimensions.
        """
        try:
            bitmaps = torch.as_tensor(tensor)
        except (TypeError, RuntimeError, ValueError) as error:
            raise TypeError(
                f"BitMasks need a tensor or array of shape (N, H, W), got "
                f"{type(tensor).__name__}: {error}"
            ) from error
        if bitmaps.is_complex() or (bitmaps.is_floating_point() and not _is_binary(bitmaps)):
            raise TypeError(
                f"BitMasks need bool or integer masks, or floats of 0 and 1 only, got "
                f"{bitmaps.dtype}; compare scores with a threshold first"
            )
        if bitmaps.dim() != 3:
            raise ValueError(f"BitMasks need shape (N, H, W), got {list(bitmaps.shape)}")
        self.tensor: Tensor = bitmaps.to(torch.bool)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.tensor.shape[1], self.tensor.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the masks live."""
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> "BitMasks":
        """The same masks after ``tensor.to(*args, **kwargs)``."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    def nonempty(self) -> Tensor:
        """(N,) bool: whether any pixel is set."""
        if on_host(self.tensor):
            count, height, width = self.tensor.shape
            # NumPy stops at the first set pixel, and is a hundred times as fast.
            return torch.from_numpy(self.tensor.numpy().reshape(count, height * width).any(axis=1))
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes around the set pixels; all zero for a mask without any.

        Pixel (i, j) covers [j, j + 1] × [i, i + 1], so the box of that one pixel alone is
        (j, i, j + 1, i + 1).
        """
        if on_host(self.tensor):
            boxes = host.mask_bounding_boxes(
                self.tensor.numpy(), num_threads=torch.get_num_threads()
            )
            corners = BoxMode.convert(torch.from_numpy(boxes), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
            return Boxes(corners)
        height, width = self.image_size
        if height == 0 or width == 0:
            return Boxes(torch.zeros((self.tensor.shape[0], 4), device=self.device))
        left, right = _extent(self.tensor.any(dim=1))
        top, bottom = _extent(self.tensor.any(dim=2))
        corners = torch.stack((left, top, right, bottom), dim=1)
        return Boxes(torch.where((right > 0)[:, None], corners, 0))

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Crop each mask by its box and resize it to a square: Mask R-CNN's training targets.

        A pixel of the result is set where the mask covers at least half of it, measured by
        `d2_ops.roi_align` with adaptive sampling.

        Args:
            boxes: (N, 4) corners in pixels, one box per mask.
            mask_size: side of the square in pixels.

        Returns:
            (N, mask_size, mask_size) bool on the masks' device.

        Raises:
            TypeError: if the boxes are no tensor, or ``mask_size`` is not whole.
            ValueError: if there is not one box per mask, or ``mask_size`` is not positive.
        """
        check_crop_arguments(boxes, mask_size, self.tensor.shape[0])
        corners = boxes.detach().to(self.device, torch.float32)
        if on_host(self.tensor):
            crops = host.crop_and_resize_bitmasks(
                self.tensor.numpy(),
                corners.numpy(),
                mask_size,
                num_threads=torch.get_num_threads(),
            )
            return torch.from_numpy(crops)

        from d2_ops import roi_align

        index = torch.arange(self.tensor.shape[0], device=self.device, dtype=corners.dtype)
        rois = torch.cat((index[:, None], corners), dim=1)
        scores = self.tensor[:, None].to(torch.float32)
        return roi_align(scores, rois, mask_size, 1.0, 0, True).squeeze(1) >= 0.5

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO's compressed masks, ``{"size": [h, w], "counts": bytes}``, one per instance."""
        bitmaps = self.tensor.cpu().numpy()
        return host.rle_encode(bitmaps, num_threads=torch.get_num_threads())

    @staticmethod
    def from_rle(rles: Sequence[Mapping[str, Any]], height: int, width: int) -> "BitMasks":
        """Decode COCO's masks, compressed or not.

        Raises:
            ValueError: if an RLE has another size than (height, width), or is broken.
            KeyError, TypeError: if a dict lacks an entry, or one is of a wrong kind.
        """
        if height < 0 or width < 0:
            raise ValueError(f"height and width must not be negative, got {(height, width)}")
        threads = torch.get_num_threads()
        compressed = host.rle_compress(rles, num_threads=threads)
        for i, rle in enumerate(compressed):
            if rle["size"] != [height, width]:
                raise ValueError(f"RLE {i} has size {rle['size']}, the image has {[height, width]}")
        if not compressed:
            return BitMasks(np.zeros((0, height, width), dtype=bool))
        return BitMasks(host.rle_decode(compressed, num_threads=threads))

    @staticmethod
    def from_polygon_masks(
        polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int
    ) -> "BitMasks":
        """Draw polygons, exactly as pycocotools does.

        Args:
            polygon_masks: PolygonMasks, or what they are made of.
            height: of the image in pixels.
            width: of the image in pixels.
        """
        if isinstance(polygon_masks, PolygonMasks):
            polygon_masks = polygon_masks.polygons
        threads = torch.get_num_threads()
        return BitMasks(
            host.polygons_to_bitmasks(polygon_masks, height, width, num_threads=threads)
        )

    @staticmethod
    def from_roi_masks(
        roi_masks: "ROIMasks", height: int, width: int, boxes: Tensor | Boxes | None = None
    ) -> "BitMasks":
        """Paste masks that are given within boxes into an image.

        Args:
            roi_masks: N masks.
            height: of the image in pixels.
            width: of the image in pixels.
            boxes: (N, 4) corners in pixels, or Boxes; by default each mask spans the image.
        """
        if boxes is None:
            whole = torch.tensor([0.0, 0.0, width, height], device=roi_masks.device)
            boxes = whole.expand(len(roi_masks), 4)
        return roi_masks.to_bitmasks(boxes, height, width)

    @staticmethod
    def cat(bitmasks_list: list["BitMasks"]) -> "BitMasks":
        """Join several BitMasks of one image, in order.

        Raises:
            TypeError: if an element is not BitMasks.
            ValueError: if the list is empty, or the image sizes differ.
        """
        check_same_type(bitmasks_list, BitMasks, "BitMasks.cat")
        if len(bitmasks_list) == 0:
            raise ValueError("BitMasks.cat needs at least one BitMasks: it gives the image size")
        return BitMasks(join_rows([masks.tensor for masks in bitmasks_list], "BitMasks.cat"))

    def __getitem__(self, item: Index) -> "BitMasks":
        """Select masks by an int (gives one), a slice, ints or a bool vector.

        The result may share storage with this object, by torch's indexing rules.
        """
        if isinstance(item, int):
            return BitMasks(self.tensor[item].unsqueeze(0))
        return BitMasks(select_rows(self.tensor, item, "BitMasks"))

    def __iter__(self) -> Iterator[Tensor]:
        """Yield one (H, W) tensor per mask."""
        yield from self.tensor

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return host_array(self.tensor, dtype, copy)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"BitMasks(num_instances={len(self)}, height={height}, width={width})"


def _is_binary(bitmaps: Tensor) -> bool:
    return bool(((bitmaps == 0) | (bitmaps == 1)).all())


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) start and stop of the True elements in each row of (N, L); stop is 0 without any."""
    length = occupied.shape[1]
    position = torch.arange(length, device=occupied.device)
    start = length - (occupied * (length - position)).amax(dim=1)
    stop = (occupied * (position + 1)).amax(dim=1)
    return start, stop
