"""Graphs that take pictures as they are: resizing and normalising are part of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_ops.host import resize_picture

from ..batched_selection import at_least, at_most, clipped_to_images
from ..box_kinds import box_kind
from .graph import INPUT_NAMES, ExportableModel

__all__ = ["PictureModel", "resized", "resized_size"]


def resized_size(height: Any, width: Any, min_size: int, max_size: int) -> tuple[Any, Any]:
    """To what size a picture is resized, in whole numbers, which a graph can hold.

    Args:
        height: of the picture in pixels; a number, a symbol of an export or, in a trace, a tensor.
        width: likewise.
        min_size: of the shorter side; 0 leaves the picture as it is.
        max_size: most that the longer side may have.

    Returns:
        Height and width, rounded to nearest with halves up, at least 1: as ``ResizeShortestEdge``
        gives them, which may round an exact half down.
    """
    if min_size == 0:
        return height, width
    shorter = at_most(height, width)
    longer = at_least(height, width)

    def scaled(side: Any) -> Any:
        by_shorter = (2 * side * min_size + shorter) // (2 * shorter)
        by_longer = (2 * side * max_size + longer) // (2 * longer)
        return at_least(at_most(by_shorter, by_longer), 1)

    return scaled(height), scaled(width)


def resized(images: Tensor, height: Any, width: Any) -> Tensor:
    """Resize as Pillow does uint8 pictures, bilinearly over the support of an output pixel.

    Both passes round to whole numbers, as there. Pillow computes with 22 bits after the point: of a
    thousand values about one differs, by 1, rarely by 2.

    Args:
        images: (N, C, H, W) float, whole numbers from 0 to 255.
        height: wanted, in pixels.
        width: likewise.
    """
    across = _filtered(images, width)
    return _filtered(across.transpose(2, 3), height).transpose(2, 3)


def _filtered(images: Tensor, length: Any) -> Tensor:
    """Give each row of each image another length."""
    # As images of one row: a graph then knows that their height stays.
    rows = images.flatten(1, 2).unsqueeze(2)
    filtered = F.interpolate(
        rows, (1, length), mode="bilinear", align_corners=False, antialias=True
    )
    return (filtered + 0.5).floor().reshape(*images.shape[:3], length)


class PictureModel(ExportableModel):
    """A model in evaluation mode that takes uint8 pictures and gives results in their pixels.

    Args:
        model: it is put into evaluation mode.
        min_size: what the shorter side of pictures is resized to, in pixels; 0 to leave it.
        max_size: most that the longer side may then have.

    Raises:
        TypeError: if the model is none that can be exported.
        ValueError: if the sizes are out of range.
    """

    def __init__(self, model: nn.Module, min_size: int, max_size: int) -> None:
        super().__init__(model)
        if min_size < 0 or (min_size > 0 and max_size < min_size):
            raise ValueError(
                "pictures are resized to a min_size of at least 0 and at most max_size, got "
                f"{min_size} and {max_size}"
            )
        self.input_names = INPUT_NAMES[:1]
        self.min_size, self.max_size = min_size, max_size

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # one input
        """See the description of `d2_modeling.export.graph`.

        Args:
            images: (N, C, H, W) uint8.
        """
        size = images.shape[-2], images.shape[-1]
        seen = resized_size(*size, self.min_size, self.max_size)
        pixels = images.to(torch.float32)
        if self.min_size > 0:
            pixels = resized(pixels, *seen)
        outputs = self.model.predict_tensors(pixels, _repeated(images, seen))
        in_pixels = _enlarged(outputs, seen, size, _repeated(images, size))
        return tuple(in_pixels[name] for name in self.output_names)

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the eager model gives for pictures that are resized as datasets are.

        Args:
            inputs: images, (N, C, H, W) uint8.

        Returns:
            As `forward`, which resizes within the graph.
        """
        (images,) = inputs
        size = (images.shape[-2], images.shape[-1])
        seen = resized_size(*size, self.min_size, self.max_size)
        pictures = [image.permute(1, 2, 0).cpu().numpy() for image in images]
        if self.min_size > 0:
            pictures = [resize_picture(picture, *seen) for picture in pictures]
        pixels = torch.stack([torch.from_numpy(each).permute(2, 0, 1) for each in pictures])
        outputs = self.model.predict_tensors(
            pixels.to(images.device, torch.float32), _repeated(images, seen)
        )
        in_pixels = _enlarged(outputs, seen, size, _repeated(images, size))
        return tuple(in_pixels[name] for name in self.output_names)


def _repeated(images: Tensor, size: Sequence[Any]) -> Tensor:
    """(N, 2) int64: the same height and width for each image."""
    ones = torch.ones(images.shape[0], 1, dtype=torch.int64, device=images.device)
    return torch.cat([ones * size[0], ones * size[1]], dim=1)


def _enlarged(
    outputs: dict[str, Tensor], seen: Sequence[Any], size: Sequence[Any], sizes: Tensor
) -> dict[str, Tensor]:
    """Results in pixels of the pictures, from those in pixels of what the network saw."""
    outputs = dict(outputs)
    if "boxes" in outputs:
        scale_y, scale_x = size[0] / seen[0], size[1] / seen[1]
        boxes = outputs["boxes"]
        scaled = box_kind(boxes.shape[1]).boxes(boxes)
        scaled.scale(scale_x, scale_y)
        outputs["boxes"] = clipped_to_images(scaled.tensor, sizes[outputs["batch_index"]])
        if "keypoints" in outputs:
            x, y, score = outputs["keypoints"].unbind(dim=2)
            outputs["keypoints"] = torch.stack((x * scale_x, y * scale_y, score), dim=2)
    if "sem_seg" in outputs:
        without_padding = outputs["sem_seg"][:, :, : seen[0], : seen[1]]
        outputs["sem_seg"] = F.interpolate(
            without_padding, (size[0], size[1]), mode="bilinear", align_corners=False
        )
    return outputs
