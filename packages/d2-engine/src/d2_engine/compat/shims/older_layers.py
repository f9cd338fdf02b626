"""Layers by names or in forms that d2 has otherwise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_modeling.layers import deform_conv2d, get_norm

BYTES_PER_FLOAT = 4


class CycleBatchNormList(nn.ModuleList):
    """Batch norms that take turns, one for each feature map, and share weight and bias.

    Args:
        length: number of feature maps.
        bn_class: makes one; it gets ``kwargs`` and ``affine=False``.
        kwargs: further arguments, among them ``num_features``.
    """

    def __init__(self, length: int, bn_class: Any = nn.BatchNorm2d, **kwargs: Any) -> None:
        self._affine = kwargs.pop("affine", True)
        super().__init__([bn_class(**kwargs, affine=False) for _ in range(length)])
        if self._affine:
            channels: Any = self[0].num_features
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        self._pos = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the next of the norms."""
        normalised: Tensor = self[self._pos](x)
        self._pos = (self._pos + 1) % len(self)
        if self._affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised

    def extra_repr(self) -> str:
        """The options."""
        return f"affine={self._affine}"


def LayerNorm(normalized_shape: int, eps: float = 1e-6) -> nn.Module:  # as a class
    """The norm ``"LN"``: over the channels of each pixel of (N, C, H, W)."""
    norm = get_norm("LN", normalized_shape)
    assert norm is not None
    norm.eps = eps  # type: ignore[assignment]  # a float, as every norm has it
    return norm


def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """Deformable convolution; the numbers of groups follow from the shapes."""
    return deform_conv2d(input, offset, weight, stride=stride, padding=padding, dilation=dilation)


def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Deformable convolution whose samples are weighted."""
    return deform_conv2d(
        input, offset, weight, bias, stride=stride, padding=padding, dilation=dilation, mask=mask
    )


def permute_to_N_HWA_K(tensor: Tensor, K: int) -> Tensor:  # detectron2's names
    """(N, A * K, H, W) predictions as (N, H * W * A, K)."""
    by_anchor = tensor.unflatten(1, (-1, K)).permute(0, 3, 4, 1, 2)
    return by_anchor.flatten(1, 3)


class BufferList(nn.Module):
    """A list of tensors that move with the module and are not saved."""

    def __init__(self, buffers: Sequence[Tensor]) -> None:
        super().__init__()
        for index, tensor in enumerate(buffers):
            self.register_buffer(str(index), tensor, persistent=False)

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Any:
        return iter(self._buffers.values())


def _create_grid_offsets(
    size: Sequence[int], stride: int, offset: float, target_device_tensor: Tensor
) -> tuple[Tensor, Tensor]:
    """(H * W,) x and y of the places of a feature map, in pixels of the image."""
    height, width = size
    options = {"dtype": torch.float32, "device": target_device_tensor.device}
    xs = (torch.arange(width, **options) + offset) * stride  # type: ignore[call-overload]
    ys = (torch.arange(height, **options) + offset) * stride  # type: ignore[call-overload]
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return x.reshape(-1), y.reshape(-1)
