"""RoIAlign: pooling features from regions by bilinear sampling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ._arguments import check_regions, check_sampling_ratio, pair, with_image_index
from ._linear_pooling import pool, register_linear_pooling


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
        ValueError: if a shape or device does not fit, ``output_size`` is not positive or overflows,
            or (on the CPU) an image index is out of range.
        RuntimeError: from the backward on CUDA under ``torch.use_deterministic_algorithms(True)``.

    Source: He et al., "Mask R-CNN", 2017, section 3.
    """
    rois = with_image_index(boxes, input)
    height, width = pair("output_size", output_size)
    check_regions("input", input, rois, 5, height, width)
    check_sampling_ratio(sampling_ratio)
    return pool("roi_align", input, rois, spatial_scale, height, width, sampling_ratio, aligned)


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


register_linear_pooling("roi_align", regions=1)
