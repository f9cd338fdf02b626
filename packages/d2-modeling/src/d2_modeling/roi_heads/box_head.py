"""Networks between the pooled features of a box and its predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from d2_config import CfgNode, configurable

from ..initialization import msra_fill, xavier_fill
from ..layers import Conv2d, ShapeSpec, get_norm
from ..layers.convolution import Norm
from .build import ROI_BOX_HEAD_REGISTRY


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """Several 3×3 convolutions, then several fully connected layers, each with ReLU.

    Args:
        input_shape: channels, height and width of the pooled features.
        conv_dims: output channels of the convolutions.
        fc_dims: output sizes of the fully connected layers.
        conv_norm: normalisation of the convolutions, see `get_norm`.

    Raises:
        ValueError: if there is no layer at all, or the input shape is incomplete.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm: Norm = "",
    ) -> None:
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ValueError("the box head wants at least one layer in conv_dims or fc_dims")
        channels, height, width = input_shape.channels, input_shape.height, input_shape.width
        if channels is None or height is None or width is None:
            raise ValueError(f"the box head wants channels, height and width, got {input_shape}")
        convolutions: list[Conv2d] = []
        for number, width_out in enumerate(conv_dims, start=1):
            layer = Conv2d(
                channels,
                width_out,
                kernel_size=3,
                padding=1,
                bias=not conv_norm,
                norm=get_norm(conv_norm, width_out),
                activation=nn.ReLU(inplace=True),
            )
            convolutions.append(layer)
            self.add_module(f"conv{number}", layer)
            channels = width_out
        self._output_shape = ShapeSpec(channels=channels, height=height, width=width)
        size = math.prod((channels, height, width))
        linears: list[nn.Linear] = []
        for number, width_out in enumerate(fc_dims, start=1):
            if number == 1:
                self.add_module("flatten", nn.Flatten())
            linear = nn.Linear(size, width_out)
            linears.append(linear)
            self.add_module(f"fc{number}", linear)
            self.add_module(f"fc_relu{number}", nn.ReLU(inplace=True))
            size = width_out
            self._output_shape = ShapeSpec(channels=width_out)
        msra_fill(*convolutions)
        xavier_fill(*linears)

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape of the output: channels only after a fully connected layer."""
        return self._output_shape

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shape of the pooled features."""
        options = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [options.CONV_DIM] * options.NUM_CONV,
            "fc_dims": [options.FC_DIM] * options.NUM_FC,
            "conv_norm": options.NORM,
        }
