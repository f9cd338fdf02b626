"""RoI pooling: the largest value of each bin of a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._arguments import check_regions, pair, with_image_index
from ._determinism import warn_or_raise_if_deterministic
from ._library import call, operators, qualified

_ops = operators()


def roi_pool(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Pool every region into a grid of bins, each the largest of its pixels.

    A region reaches from the pixel nearest to its upper left corner to the one nearest to its
    lower right corner, at least one pixel; bins that cut a pixel both have it. ``roi_align``, which
    rounds nothing, is more exact.

    Args:
        input: (B, C, H, W) floating feature map.
        boxes: (K, 5) floating rows of image index, x1, y1, x2, y2, or one (L, 4) tensor per image.
            Any precision.
        output_size: bins as (height, width), or one number for both.
        spatial_scale: multiplies box coordinates into feature-map pixels.

    Returns:
        (K, C, height, width) in the dtype of ``input``, also under autocast. Bins outside of the
        map are 0; NaN is larger than anything. K == 0 gives an empty tensor. Differentiable in
        ``input``: of equal values the first has the gradient. Regions with coordinates that are not
        finite give NaN, and so do, on CUDA, image indices out of range.

    Raises:
        TypeError: if ``input`` or ``boxes`` are not floating tensors.
        ValueError: if a shape or device does not fit, ``output_size`` is not positive or overflows,
            or (on the CPU) an image index is out of range.
        RuntimeError: from the backward on CUDA under ``torch.use_deterministic_algorithms(True)``.

    Source: Girshick, "Fast R-CNN", 2015, section 2.1.
    """
    rois = with_image_index(boxes, input)
    height, width = pair("output_size", output_size)
    check_regions("input", input, rois, 5, height, width)
    pooled: Tensor = call("roi_pool", _ops.roi_pool, input, rois, spatial_scale, height, width)[0]
    return pooled


class ROIPool(nn.Module):
    """``roi_pool`` with its settings fixed, called with features and (K, 5) boxes."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        """Settings are those of ``roi_pool``."""
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool (B, C, H, W) features in (K, 5) boxes: image index, x1, y1, x2, y2."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"


@torch.library.register_fake(qualified("roi_pool"))
def _(
    input: Tensor, boxes: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    pooled = input.new_empty((boxes.shape[0], input.shape[1], pooled_height, pooled_width))
    return pooled, torch.empty_like(pooled, dtype=torch.int32)


@torch.library.register_fake(qualified("roi_pool_backward"))
def _(grad: Tensor, argmax: Tensor, boxes: Tensor, input_sizes: Sequence[int]) -> Tensor:
    return grad.new_empty(input_sizes)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    features, boxes, *_ = inputs
    ctx.save_for_backward(output[1], boxes)
    ctx.mark_non_differentiable(output[1])
    ctx.input_sizes = list(features.shape)


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if grad.is_cuda:
        warn_or_raise_if_deterministic("roi_pool")
    grad_input = _ops.roi_pool_backward(grad, *ctx.saved_tensors, ctx.input_sizes)
    return grad_input, *[None] * 4


def _save_for_double_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, argmax, boxes, _ = inputs
    ctx.save_for_backward(argmax, boxes)


def _double_backward(ctx: Any, grad_input: Tensor) -> tuple[Tensor | None, ...]:
    # Pooling selects pixels: the derivative of its transpose selects the same ones.
    argmax, boxes = ctx.saved_tensors
    planes = grad_input.flatten(2)
    batch, channels, pixels = planes.shape
    image = boxes[:, 0].long().clamp(0, batch - 1)  # those that do not exist have no argmax
    plane = image[:, None] * channels + torch.arange(channels, device=boxes.device)
    offset = plane[..., None, None] * pixels + argmax.clamp(min=0)
    selected = grad_input.reshape(-1)[offset] if pixels > 0 else argmax.to(grad_input)
    return selected.masked_fill(argmax < 0, 0), None, None, None


torch.library.register_autograd(qualified("roi_pool"), _backward, setup_context=_save_for_backward)
torch.library.register_autograd(
    qualified("roi_pool_backward"), _double_backward, setup_context=_save_for_double_backward
)
