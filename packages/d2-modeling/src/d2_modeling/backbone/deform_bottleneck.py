"""The bottleneck block with a deformable convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import Conv2d, DeformConv, ModulatedDeformConv
from ..layers.convolution import Norm
from .resnet import BottleneckBlock


class DeformBottleneckBlock(BottleneckBlock):
    """`BottleneckBlock` whose 3×3 convolution moves its taps.

    An ordinary convolution of the same input, ``conv2_offset``, says where to. It starts at
    zero: at first the block samples where an ordinary one does.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bottleneck_channels: channels of the 3×3 convolution.
        stride: stride of the block.
        num_groups: groups of the 3×3 convolution.
        norm: normalisation, see `get_norm`.
        stride_in_1x1: put the stride into the first 1×1 convolution instead of the 3×3.
        dilation: dilation of the 3×3 convolution.
        deform_modulated: also weight every sample, with the sigmoid of a prediction.
        deform_num_groups: runs of channels whose taps move apart from those of the others.

    Raises:
        ValueError: if groups do not divide ``bottleneck_channels``.

    Source: Dai et al., "Deformable Convolutional Networks", 2017; Zhu et al., "Deformable
    ConvNets v2", 2019.
    """

    conv2: DeformConv | ModulatedDeformConv  # type: ignore[assignment]  # replaces an ordinary one

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            bottleneck_channels=bottleneck_channels,
            stride=stride,
            num_groups=num_groups,
            norm=norm,
            stride_in_1x1=stride_in_1x1,
            dilation=dilation,
        )
        self.deform_modulated = deform_modulated
        stride_3x3 = 1 if stride_in_1x1 else stride
        self._offset_channels = 2 * 9 * deform_num_groups
        mask_channels = 9 * deform_num_groups if deform_modulated else 0
        self.conv2_offset = Conv2d(
            bottleneck_channels,
            self._offset_channels + mask_channels,
            kernel_size=3,
            stride=stride_3x3,
            padding=dilation,
            dilation=dilation,
        )
        nn.init.zeros_(self.conv2_offset.weight)
        assert self.conv2_offset.bias is not None
        nn.init.zeros_(self.conv2_offset.bias)
        kind = ModulatedDeformConv if deform_modulated else DeformConv
        self.conv2 = kind(
            bottleneck_channels,
            bottleneck_channels,
            kernel_size=3,
            stride=stride_3x3,
            padding=dilation,
            dilation=dilation,
            groups=num_groups,
            deformable_groups=deform_num_groups,
            bias=False,
            norm=self.conv2.norm,
        )
        nn.init.kaiming_normal_(self.conv2.weight, mode="fan_out", nonlinearity="relu")

    def convolve_3x3(self, x: Tensor) -> Tensor:
        """Convolve where ``conv2_offset`` says, and normalise."""
        offset, mask = torch.tensor_split(self.conv2_offset(x), [self._offset_channels], dim=1)
        convolved: Tensor = (
            self.conv2(x, offset, mask.sigmoid())
            if self.deform_modulated
            else self.conv2(x, offset)
        )
        return convolved
