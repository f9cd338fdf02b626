"""RoIAlign: pooling features from regions by bilinear sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._arguments import check_columns, check_regions
from ._determinism import warn_or_raise_if_deterministic
from ._library import operators, qualified

_ops = operators()


def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Pool every region into a grid of bins, each the mean of bilinear samples.

    Args:
        input: (B, C, H, W) floating feature map.
        boxes: (K, 5) floating rows of image index, x1, y1, x2, y2, or one (L, 4) tensor per image.
            Any precision: half-precision features keep exact boxes.
        output_size: bins as (height, width), or one number for both.
        spatial_scale: multiplies box coordinates into feature-map pixels.
        sampling_ratio: samples per bin and axis; 0 or less takes as many as a bin is pixels long.
        aligned: shift by half a pixel, so that pixel centres are where they belong. False is the
            behaviour of the first Mask R-CNN implementations, in which regions also have a
            minimum size of one pixel.

    Returns:
        (K, C, height, width) in the dtype of ``input``, also under autocast; computed in float32
        (float64 for float64). K == 0 gives an empty tensor. Differentiable in ``input``. Regions
        with coordinates that are not finite give NaN, and so do, on CUDA, image indices out of
        range.

    Raises:
        TypeError: if ``input`` or ``boxes`` are not floating tensors.
        ValueError: if a shape or device does not fit, ``output_size`` is not positive, or (on the
            CPU) an image index is out of range.
        RuntimeError: from the backward on CUDA under ``torch.use_deterministic_algorithms(True)``.

    Source: He et al., "Mask R-CNN", 2017, section 3.
    """
    rois = boxes if isinstance(boxes, Tensor) else _with_image_index(boxes, input)
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    check_regions(input, rois, 5, height, width)
    differentiable = torch.compiler.is_compiling() or (
        input.requires_grad and torch.is_grad_enabled()
    )
    # Passing through autograd costs more than a small call: do it where it matters.
    operator = _ops.roi_align if differentiable else _ops.roi_align_forward
    pooled: Tensor = operator(input, rois, spatial_scale, height, width, sampling_ratio, aligned)
    return pooled


class ROIAlign(nn.Module):
    """``roi_align`` with its settings fixed, called with features and (K, 5) boxes."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ) -> None:
        """Settings are those of ``roi_align``; note that ``aligned`` is True here.

        With a continuous coordinate c, the neighbouring pixels are those at floor(c - 0.5) and
        ceil(c - 0.5): pixel i has its centre at i + 0.5. ``aligned=False`` leaves out the 0.5 and
        samples half a pixel off.
        """
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool (B, C, H, W) features in (K, 5) boxes: image index, x1, y1, x2, y2."""
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


def _with_image_index(boxes: Sequence[Tensor], input: Tensor) -> Tensor:
    for i, per_image in enumerate(boxes):
        check_columns(f"boxes[{i}]", per_image, 4)
    if not boxes:
        return input.new_zeros((0, 5))
    rows = [nn.functional.pad(per_image, (1, 0), value=i) for i, per_image in enumerate(boxes)]
    return torch.cat(rows)


@torch.library.register_fake(qualified("roi_align"))
@torch.library.register_fake(qualified("roi_align_forward"))
def _(
    input: Tensor,
    boxes: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return input.new_empty((boxes.shape[0], input.shape[1], pooled_height, pooled_width))


@torch.library.register_fake(qualified("roi_align_backward"))
def _(
    grad: Tensor,
    boxes: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return grad.new_empty((batch, channels, height, width))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, *ctx.settings = inputs
    ctx.save_for_backward(boxes)
    ctx.input_shape = features.shape


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    if grad.is_cuda:
        warn_or_raise_if_deterministic("roi_align")
    (boxes,) = ctx.saved_tensors
    spatial_scale, height, width, sampling_ratio, aligned = ctx.settings
    grad_input = _ops.roi_align_backward(
        grad, boxes, spatial_scale, height, width, *ctx.input_shape, sampling_ratio, aligned
    )
    return grad_input, None, None, None, None, None, None


def _save_for_double_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, boxes, spatial_scale, height, width, *_, sampling_ratio, aligned = inputs
    ctx.save_for_backward(boxes)
    ctx.settings = spatial_scale, height, width, sampling_ratio, aligned


def _double_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # Pooling is linear: the derivative of its transpose is pooling again.
    (boxes,) = ctx.saved_tensors
    return _ops.roi_align(grad, boxes, *ctx.settings), *[None] * 10


torch.library.register_autograd(qualified("roi_align"), _backward, setup_context=_save_for_backward)
torch.library.register_autograd(
    qualified("roi_align_backward"), _double_backward, setup_context=_save_for_double_backward
)
