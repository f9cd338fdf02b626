"""Pasting of masks one at a time; d2 pastes all at once, and knows polygons' areas elsewhere."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2_modeling.layers import paste_masks_in_image


def polygon_area(x: Any, y: Any) -> float:
    """The area within the corners (x, y), by the shoelace formula."""
    return 0.5 * float(np.abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def scale_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Enlarge (N, 4) boxes about their centres."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    return torch.cat([centre - half, centre + half], dim=1)


def pad_masks(masks: Tensor, padding: int) -> tuple[Tensor, float]:
    """Put zeros around (N, M, M) masks; return them and how much larger they are."""
    padded = torch.nn.functional.pad(masks, (padding,) * 4)
    return padded, padded.shape[-1] / masks.shape[-1]


def paste_mask_in_image_old(
    mask: Tensor, box: Tensor, img_h: int, img_w: int, threshold: float
) -> Tensor:
    """Paste one (M, M) mask into an image of the given size; (H, W) uint8, or bool.

    A negative threshold keeps the values, from 0 to 255.
    """
    pasted: Tensor = paste_masks_in_image(mask[None], box[None], (img_h, img_w), threshold)
    return pasted[0]
