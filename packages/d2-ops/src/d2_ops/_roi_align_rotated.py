"""RoIAlign in rotated regions."""

from __future__ import annotations

from torch import Tensor, nn

from ._arguments import check_regions, check_sampling_ratio, pair
from ._linear_pooling import pool, register_linear_pooling


def roi_align_rotated(
    input: Tensor,
    boxes: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """Pool every rotated region into a grid of bins, each the mean of bilinear samples.

    Bins lie along the sides of the box: the first one at its corner that is the upper left one at
    angle 0. Pixel centres are where they belong, as in ``roi_align(..., aligned=True)``.

    Args:
        input: (B, C, H, W) floating feature map.
        boxes: (K, 6) floating rows of image index, centre x, centre y, width, height, and angle in
            degrees counter-clockwise. Any precision: half-precision features keep exact boxes.
        output_size: bins as (height, width), or one number for both.
        spatial_scale: multiplies box coordinates into feature-map pixels.
        sampling_ratio: samples per bin and axis; 0 or less takes as many as a bin is pixels long.

    Returns:
        (K, C, height, width) in the dtype of ``input``, also under autocast; computed in float32
        (float64 for float64). K == 0 gives an empty tensor. Differentiable in ``input``. Regions
        that are not finite give NaN, and so do, on CUDA, image indices out of range.

    Raises:
        TypeError: if ``input`` or ``boxes`` are not floating tensors.
        ValueError: if a shape or device does not fit, ``output_size`` is not positive or overflows,
            or (on the CPU) an image index is out of range.
        RuntimeError: from the backward on CUDA under ``torch.use_deterministic_algorithms(True)``.

    Source: Ma et al., "Arbitrary-oriented scene text detection via rotation proposals", 2018.
    """
    height, width = pair("output_size", output_size)
    check_regions("input", input, boxes, 6, height, width)
    check_sampling_ratio(sampling_ratio)
    return pool("roi_align_rotated", input, boxes, spatial_scale, height, width, sampling_ratio)


class ROIAlignRotated(nn.Module):
    """``roi_align_rotated`` with its settings fixed, called with features and (K, 6) boxes."""

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int
    ) -> None:
        """Settings are those of ``roi_align_rotated``.

        With a continuous coordinate c, the neighbouring pixels are those at floor(c - 0.5) and
        ceil(c - 0.5): pixel i has its centre at i + 0.5.
        """
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool (B, C, H, W) features in (K, 6) boxes: image index, then a rotated box."""
        return roi_align_rotated(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}"
        )


register_linear_pooling("roi_align_rotated", regions=1)
