"""Atrous spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..initialization import xavier_fill
from .convolution import Activation, Conv2d, DepthwiseSeparableConv2d, Norm
from .norm import get_norm


class ASPP(nn.Module):
    """Parallel convolutions of several dilations plus image pooling, projected together.

    Args:
        in_channels: channels of the input.
        out_channels: channels of each branch and of the output.
        dilations: the three dilations of the 3×3 branches.
        norm: normalisation of all convolutions except the one after pooling, see
            `get_norm`.
        activation: activation of all convolutions.
        pool_kernel_size: (height, width) of the image pooling window, which has to divide
            the input's size; None pools the whole image.
        dropout: rate applied to the output while training.
        use_depthwise_separable_conv: make the 3×3 branches depthwise separable.

    Raises:
        ValueError: if there are not three dilations.

    Source: Chen et al., "Rethinking Atrous Convolution", 2017.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int],
        *,
        norm: Norm,
        activation: Activation,
        pool_kernel_size: tuple[int, int] | Sequence[int] | None = None,
        dropout: float = 0.0,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__()
        if len(dilations) != 3:
            raise ValueError(f"ASPP wants 3 dilations, got {list(dilations)}")
        self.pool_kernel_size = None if pool_kernel_size is None else tuple(pool_kernel_size)
        self.dropout = dropout

        def convolution(channels: int, kernel_size: int, dilation: int = 1) -> Conv2d:
            layer = Conv2d(
                channels,
                out_channels,
                kernel_size=kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=norm == "",
                norm=get_norm(norm, out_channels),
                activation=deepcopy(activation),
            )
            xavier_fill(layer)
            return layer

        branches: list[nn.Module] = [convolution(in_channels, 1)]
        for dilation in dilations:
            if use_depthwise_separable_conv:
                branches.append(
                    _separable_branch(in_channels, out_channels, dilation, norm, activation)
                )
            else:
                branches.append(convolution(in_channels, 3, dilation))
        branches.append(_pooling_branch(in_channels, out_channels, pool_kernel_size, activation))
        self.convs = nn.ModuleList(branches)
        self.project = convolution(5 * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W).

        Raises:
            ValueError: if the pooling window does not divide (H, W).
        """
        size = x.shape[-2:]
        window = self.pool_kernel_size
        if window is not None and (size[0] % window[0] or size[1] % window[1]):
            raise ValueError(f"pool_kernel_size {window} does not divide the input {tuple(size)}")
        outputs = [branch(x) for branch in self.convs]
        outputs[-1] = F.interpolate(outputs[-1], size=size, mode="bilinear", align_corners=False)
        projected = self.project(torch.cat(outputs, dim=1))
        if self.dropout > 0:
            return F.dropout(projected, self.dropout, training=self.training)
        return projected


def _separable_branch(
    in_channels: int,
    out_channels: int,
    dilation: int,
    norm: Norm,
    activation: Callable[[Tensor], Tensor],
) -> DepthwiseSeparableConv2d:
    return DepthwiseSeparableConv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=dilation,
        dilation=dilation,
        norm1=norm,
        activation1=deepcopy(activation),
        norm2=norm,
        activation2=deepcopy(activation),
    )


def _pooling_branch(
    in_channels: int,
    out_channels: int,
    window: Sequence[int] | None,
    activation: Activation,
) -> nn.Sequential:
    pool = (
        nn.AdaptiveAvgPool2d(1)
        if window is None
        else nn.AvgPool2d((window[0], window[1]), stride=1)
    )
    # The pooled map may be 1×1, where batch norm has no statistics: a bias instead.
    layer = Conv2d(in_channels, out_channels, 1, bias=True, activation=deepcopy(activation))
    xavier_fill(layer)
    return nn.Sequential(pool, layer)
