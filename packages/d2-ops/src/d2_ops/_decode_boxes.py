"""Boxes out of the offsets that detectors predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._arguments import check_columns, check_device, check_floating, describe, height_and_width
from ._library import operators, qualified

_ops = operators()

SCALE_CLAMP = math.log(1000.0 / 16)  # larger than any object is in pixels, over the smallest anchor
_DEGREES = 180 / math.pi


class ClippedBoxes(NamedTuple):
    """Decoded boxes within an image."""

    boxes: Tensor  # (N, k * 4) or (N, k * 5)
    keep: Tensor  # (N, k) bool: finite before clipping and large enough after it


def decode_boxes(
    deltas: Tensor,
    boxes: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    scale_clamp: float = SCALE_CLAMP,
) -> Tensor:
    """Shift and scale boxes by predicted offsets.

    Args:
        deltas: (N, k * 4) floating; row i holds k offsets (dx, dy, dw, dh) from ``boxes[i]``:
            shifts of the centre over the size, and logarithms of size ratios.
        boxes: (N, 4) floating, x1, y1, x2, y2 in pixels.
        weights: what the four offsets were multiplied by when boxes were encoded.
        scale_clamp: upper bound of dw and dh, after division by the weights.

    Returns:
        (N, k * 4) boxes, unclipped, float32 (float64 if ``deltas`` are), also under autocast.
        Differentiable in both tensors, any number of times.

    Raises:
        TypeError: if ``deltas`` or ``boxes`` are not floating tensors.
        ValueError: if shapes or devices do not fit, or weights or the clamp are not numbers to
            divide and compare by.

    Source: Girshick et al., "Rich feature hierarchies", 2014, appendix C.
    """
    _check(deltas, boxes, weights, scale_clamp, columns=4)
    decoded: Tensor = _ops.decode_boxes(deltas, boxes, list(weights), scale_clamp)
    return decoded


def decode_rotated_boxes(
    deltas: Tensor,
    boxes: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0),
    scale_clamp: float = SCALE_CLAMP,
) -> Tensor:
    """Like ``decode_boxes``, and turn the boxes too.

    Args:
        deltas: (N, k * 5) floating; row i holds k offsets (dx, dy, dw, dh, da) from ``boxes[i]``,
            the last one in radians.
        boxes: (N, 5) floating, centre x, centre y, width, height in pixels, and angle in degrees
            counter-clockwise.
        weights: what the five offsets were multiplied by when boxes were encoded.
        scale_clamp: upper bound of dw and dh, after division by the weights.

    Returns:
        (N, k * 5) boxes with angles in [-180, 180). Further properties and errors are those of
        ``decode_boxes``.
    """
    _check(deltas, boxes, weights, scale_clamp, columns=5)
    decoded: Tensor = _ops.decode_rotated_boxes(deltas, boxes, list(weights), scale_clamp)
    return decoded


def decode_and_clip_boxes(
    deltas: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    scale_clamp: float = SCALE_CLAMP,
    *,
    min_size: float = 0.0,
) -> ClippedBoxes:
    """``decode_boxes``, clipped to an image, and which of them to keep, in one pass.

    Args:
        deltas: see ``decode_boxes``, as the arguments not named here.
        boxes: see there.
        image_size: height and width in pixels.
        weights: see there.
        scale_clamp: see there.
        min_size: both sides of a box to keep are longer, in pixels.

    Returns:
        ``boxes``, (N, k * 4) with x in [0, width] and y in [0, height]; ``keep``, (N, k) bool,
        True where the box was finite and is large enough. Not differentiable.

    Raises:
        TypeError: as ``decode_boxes``.
        ValueError: as ``decode_boxes``, if a size is negative, or ``min_size`` is NaN.
    """
    _check(deltas, boxes, weights, scale_clamp, columns=4)
    height, width = _checked_bounds(image_size, min_size, 0.0)
    return ClippedBoxes(
        *_ops.decode_and_clip_boxes(
            deltas.detach(), boxes.detach(), list(weights), scale_clamp, height, width, min_size
        )
    )


def decode_and_clip_rotated_boxes(
    deltas: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0),
    scale_clamp: float = SCALE_CLAMP,
    *,
    min_size: float = 0.0,
    clip_angle_threshold: float = 1.0,
) -> ClippedBoxes:
    """``decode_rotated_boxes``, clipped to an image, and which of them to keep, in one pass.

    Args:
        deltas: see ``decode_rotated_boxes``, as the arguments not named here.
        boxes: see there.
        image_size: height and width in pixels.
        weights: see there.
        scale_clamp: see there.
        min_size: both sides of a box to keep are longer, in pixels.
        clip_angle_threshold: boxes turned by more degrees are not clipped.

    Returns:
        ``boxes``, (N, k * 5), and ``keep``, (N, k) bool, as ``decode_and_clip_boxes``.

    Raises:
        TypeError: as ``decode_boxes``.
        ValueError: as ``decode_boxes``, if a size is negative, or a threshold is NaN.
    """
    _check(deltas, boxes, weights, scale_clamp, columns=5)
    height, width = _checked_bounds(image_size, min_size, clip_angle_threshold)
    return ClippedBoxes(
        *_ops.decode_and_clip_rotated_boxes(
            deltas.detach(),
            boxes.detach(),
            list(weights),
            scale_clamp,
            height,
            width,
            min_size,
            clip_angle_threshold,
        )
    )


def _check(
    deltas: Tensor, boxes: Tensor, weights: Sequence[float], scale_clamp: float, columns: int
) -> None:
    check_floating("deltas", deltas)
    check_floating("boxes", boxes)
    check_columns("boxes", boxes, columns)
    rows = boxes.shape[0]
    if deltas.dim() != 2 or deltas.shape[0] != rows or deltas.shape[1] % columns != 0:
        raise ValueError(
            f"deltas must have shape ({rows}, k * {columns}) for {rows} boxes, "
            f"got {describe(deltas)}"
        )
    check_device("deltas", deltas, "boxes", boxes)
    # A comparison with NaN is false.
    if len(weights) != columns or not all(0 < abs(weight) < math.inf for weight in weights):
        raise ValueError(f"weights must be {columns} finite numbers but 0, got {list(weights)}")
    if scale_clamp != scale_clamp:  # NaN; math.isnan cannot be traced
        raise ValueError("scale_clamp is NaN")


def _checked_bounds(
    image_size: tuple[int, int], min_size: float, clip_angle_threshold: float
) -> tuple[int, int]:
    height, width = height_and_width("image_size", image_size)
    if height < 0 or width < 0:
        raise ValueError(f"image_size must not be negative, got {height} x {width}")
    for name, value in (("min_size", min_size), ("clip_angle_threshold", clip_angle_threshold)):
        if value != value:
            raise ValueError(f"{name} is NaN")
    return height, width


def _wide(deltas: Tensor) -> torch.dtype:
    return torch.float64 if deltas.dtype == torch.float64 else torch.float32


@torch.library.register_fake(qualified("decode_boxes"))
@torch.library.register_fake(qualified("decode_rotated_boxes"))
def _(deltas: Tensor, boxes: Tensor, weights: list[float], scale_clamp: float) -> Tensor:
    return deltas.new_empty(deltas.shape, dtype=_wide(deltas))


def _fake_clipped(deltas: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    keep = deltas.new_empty((deltas.shape[0], deltas.shape[1] // columns), dtype=torch.bool)
    return deltas.new_empty(deltas.shape, dtype=_wide(deltas)), keep


@torch.library.register_fake(qualified("decode_and_clip_boxes"))
def _(deltas: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _fake_clipped(deltas, 4)


@torch.library.register_fake(qualified("decode_and_clip_rotated_boxes"))
def _(deltas: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _fake_clipped(deltas, 5)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    deltas, boxes, ctx.weights, ctx.scale_clamp = inputs
    ctx.save_for_backward(deltas, boxes)


# Derivatives are written in torch, so they can be derived and compiled in turn.


class _Decoding:
    """The steps of decoding that its derivatives need, (N, k, 1 to 2) each."""

    def __init__(self, ctx: Any, grad: Tensor, columns: int) -> None:
        self.deltas, self.boxes = ctx.saved_tensors
        shape = grad.shape[0], grad.shape[1] // columns, columns
        self.grad = grad.reshape(shape)
        self.wide_boxes = self.boxes.to(grad.dtype)[:, None]
        weights = torch.tensor(ctx.weights, dtype=grad.dtype)
        self.weights = weights.to(grad.device, non_blocking=True)
        scaled = self.deltas.to(grad.dtype).reshape(shape) / self.weights
        self.shift, log_ratio = scaled[..., :2], scaled[..., 2:4]
        self.ratio = log_ratio.clamp(max=ctx.scale_clamp).exp()
        self.unclamped = log_ratio <= ctx.scale_clamp

    def backward(
        self, by_scaled: list[Tensor], by_boxes: list[Tensor]
    ) -> tuple[Tensor, Tensor, None, None]:
        by_deltas = torch.cat(by_scaled, 2) / self.weights
        by_all_boxes = torch.cat(by_boxes, 2).sum(1)
        return (
            by_deltas.reshape(self.deltas.shape).to(self.deltas.dtype),
            by_all_boxes.to(self.boxes.dtype),
            None,
            None,
        )


def _decode_boxes_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    steps = _Decoding(ctx, grad, 4)
    size = steps.wide_boxes[..., 2:] - steps.wide_boxes[..., :2]
    low, high = steps.grad.split(2, dim=2)
    by_centre, by_half = low + high, high - low
    by_log_ratio = torch.where(steps.unclamped, by_half * 0.5 * steps.ratio * size, 0)
    by_size = by_centre * steps.shift + by_half * 0.5 * steps.ratio
    return steps.backward(
        [by_centre * size, by_log_ratio], [0.5 * by_centre - by_size, 0.5 * by_centre + by_size]
    )


def _decode_rotated_boxes_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    steps = _Decoding(ctx, grad, 5)
    size = steps.wide_boxes[..., 2:4]
    by_centre, by_side, by_angle = steps.grad.split([2, 2, 1], dim=2)
    by_log_ratio = torch.where(steps.unclamped, by_side * steps.ratio * size, 0)
    by_size = by_centre * steps.shift + by_side * steps.ratio
    return steps.backward(
        [by_centre * size, by_log_ratio, by_angle * _DEGREES], [by_centre, by_size, by_angle]
    )


for _name, _derivative in (
    ("decode_boxes", _decode_boxes_backward),
    ("decode_rotated_boxes", _decode_rotated_boxes_backward),
):
    torch.library.register_autograd(qualified(_name), _derivative, setup_context=_save_for_backward)
