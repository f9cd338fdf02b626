"""Where ONNX Runtime finds operators for rotated boxes and deformable convolutions."""

from __future__ import annotations

from pathlib import Path

from ._compiled import path_of
from ._preconditions import no_library


def onnx_library() -> Path:
    """The library for ONNX Runtime's ``SessionOptions.register_custom_ops_library``.

    Its operators are in the domain that is called as those of torch, ``d2_ops``, of version 1. They
    take and give float32 (indices int64), run on the processor, on the threads of the session, and
    compute what the operators of torch compute::

        NmsRotated(boxes (N, 5), scores (N,), iou_threshold () float64[, idxs (N,) int64]) -> (K,)
        BoxIouRotated(boxes1 (N, 5), boxes2 (M, 5)) -> (N, M)
        RoiAlignRotated[spatial_scales, output_size, sampling_ratio](
            boxes (K, 6), levels (K,) int64, features (B, C, H, W), ...) -> (K, C, height, width)
        DecodeRotatedBoxes[weights, scale_clamp](deltas (N, k * 5), boxes (N, 5)) -> (N, k * 5)
        DeformColumns[kernel, stride, padding, dilation, groups](
            images (B, H, W, C), offset (B, D * taps * 2, H', W')[, mask (B, D * taps, H', W')]
        ) -> (B, groups, H' * W', taps * C / groups)

    A deformable convolution is the product of ``DeformColumns`` with the weights, taps before
    channels, which is left to the runtime. The library needs ONNX Runtime 1.17 or later, neither
    torch nor Python: programs in C++ load it too.

    Returns:
        Its path.

    Raises:
        ImportError: if this package was not built.
    """
    found = path_of("_onnx_ops")
    if found is None:
        raise no_library("_onnx_ops")
    return Path(found)
