"""Pasting predicted masks into an image."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ._arguments import (
    check_columns,
    check_device,
    check_elements,
    check_floating,
    describe,
    height_and_width,
)
from ._library import operators, qualified

_ops = operators()


class HasBoxes(Protocol):
    """Boxes that carry their corners as ``tensor``, as d2-structures' ``Boxes`` do."""

    tensor: Tensor


def paste_masks_in_image(
    masks: Tensor,
    boxes: Tensor | HasBoxes,
    image_shape: tuple[int, int],
    threshold: float = 0.5,
) -> Tensor:
    """Stretch masks of a fixed size over their boxes in an image.

    A pixel is sampled bilinearly at its centre, the mask's cells having their values at their
    centres and zeros around. Pixels further than one pixel from the box stay zero. An empty box,
    or one that is not finite, pastes nothing. The float image is never made: the result is
    written directly, row by row.

    Args:
        masks: (N, H, W) floating, in [0, 1]; computed in float32 (float64 for float64).
        boxes: (N, 4) floating, x1, y1, x2, y2 in pixels of the image, or an object whose
            ``tensor`` that is.
        image_shape: height and width of the image.
        threshold: in [0, 1]: samples that reach it are set. Negative: keep grey levels.

    Returns:
        (N, height, width) bool; for a negative threshold uint8, samples times 255 rounded down.

    Raises:
        TypeError: if masks or boxes are not floating tensors.
        ValueError: if shapes or devices disagree, the threshold is NaN, or the result would be
            larger than a tensor can be.

    Source: He et al., "Mask R-CNN", 2017, section 3.1.
    """
    corners: Any = getattr(boxes, "tensor", boxes)
    height, width = height_and_width("image_shape", image_shape)
    _check(masks, corners, height, width, threshold)
    pasted: Tensor = _ops.paste_masks_in_image(masks, corners, height, width, threshold)
    return pasted


def _check(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> None:
    check_floating("masks", masks)
    check_floating("boxes", boxes)
    if masks.dim() != 3:
        raise ValueError(f"masks must have shape (N, H, W), got {describe(masks)}")
    check_columns("boxes", boxes, 4)
    if boxes.shape[0] != masks.shape[0]:
        raise ValueError(f"{masks.shape[0]} masks but {boxes.shape[0]} boxes")
    check_device("boxes", boxes, "masks", masks)
    if height < 0 or width < 0:
        raise ValueError(f"image_shape must not be negative, got {height} x {width}")
    check_elements("the pasted masks", masks.shape[0], height, width)
    if threshold != threshold:  # NaN; math.isnan cannot be traced
        raise ValueError("threshold is NaN")


@torch.library.register_fake(qualified("paste_masks_in_image"))
def _(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> Tensor:
    dtype = torch.bool if threshold >= 0 else torch.uint8
    return masks.new_empty((masks.shape[0], height, width), dtype=dtype)
