"""The residual networks of DeepLab: a deeper stem, and dilation instead of stride."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from d2_config import CfgNode

from ..initialization import msra_fill
from ..layers import CNNBlockBase, ShapeSpec
from ..layers.convolution import Norm
from .build import BACKBONE_REGISTRY
from .resnet import BLOCKS_PER_STAGE, BasicStem, BottleneckBlock, ResNet, conv_norm
from .resnet_from_config import (
    Blocks,
    bottleneck_options,
    check_bottleneck_depth,
    resnet_from_stages,
    strides,
)


class DeepLabStem(CNNBlockBase):
    """Three 3×3 convolutions, the first of stride 2, then 3×3 max pooling of stride 2.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output; the first two convolutions have half of them.
        norm: normalisation, see `get_norm`.

    Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution", 2018.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 128, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        half = out_channels // 2
        self.conv1 = conv_norm(in_channels, half, norm, kernel_size=3, stride=2, padding=1)
        self.conv2 = conv_norm(half, half, norm, kernel_size=3, padding=1)
        self.conv3 = conv_norm(half, out_channels, norm, kernel_size=3, padding=1)
        msra_fill(self.conv1, self.conv2, self.conv3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / 4, W / 4)."""
        for layer in (self.conv1, self.conv2, self.conv3):
            x = F.relu_(layer(x))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


@BACKBONE_REGISTRY.register()
def build_resnet_deeplab_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet of ``cfg.MODEL.RESNETS`` with the options of `add_deeplab_config`.

    ``RES4_DILATION`` and ``RES5_DILATION`` replace the stride of their stages; the blocks of
    ``res5`` are dilated by ``RES5_MULTI_GRID`` on top. Stages after the last one in
    ``OUT_FEATURES`` are not built, and the first ``cfg.MODEL.BACKBONE.FREEZE_AT`` ones are frozen.

    Args:
        cfg: the whole config.
        input_shape: its ``channels`` are those of the images.

    Raises:
        ValueError: if the depth or the stem is unknown, or the dilations do not fit together.
    """
    options = cfg.MODEL.RESNETS
    _check_options(options)
    stem = _STEMS[options.STEM_TYPE](
        input_shape.channels or 3, options.STEM_OUT_CHANNELS, options.NORM
    )

    def blocks(index: int, num_blocks: int) -> Blocks:
        dilation = (1, 1, options.RES4_DILATION, options.RES5_DILATION)[index]
        grid = options.RES5_MULTI_GRID if index == 3 else [1] * num_blocks
        return BottleneckBlock, {
            "stride_per_block": strides(index, num_blocks, dilation),
            "dilation_per_block": [dilation * factor for factor in grid],
            **bottleneck_options(options, index),
        }

    return resnet_from_stages(cfg, stem, blocks)


_STEMS = {"basic": BasicStem, "deeplab": DeepLabStem}


def _check_options(options: CfgNode) -> None:
    check_bottleneck_depth(options)
    if options.STEM_TYPE not in _STEMS:
        raise ValueError(f"MODEL.RESNETS.STEM_TYPE {options.STEM_TYPE!r} is not in {list(_STEMS)}")
    dilations = (options.RES4_DILATION, options.RES5_DILATION)
    if dilations not in ((1, 1), (1, 2), (2, 4)):
        raise ValueError(
            "MODEL.RESNETS.RES4_DILATION and RES5_DILATION can be 1 and 1, 1 and 2, or 2 and 4, "
            f"got {dilations}"
        )
    blocks = BLOCKS_PER_STAGE[options.DEPTH][3]
    if len(options.RES5_MULTI_GRID) != blocks:
        raise ValueError(
            f"MODEL.RESNETS.RES5_MULTI_GRID wants {blocks} factors, one for each block of res5, "
            f"got {options.RES5_MULTI_GRID}"
        )
