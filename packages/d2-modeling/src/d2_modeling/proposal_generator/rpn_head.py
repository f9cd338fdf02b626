"""What the region proposal network predicts from feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2_config import CfgNode, configurable

from ..anchor_generator import anchors_per_pixel, build_anchor_generator
from ..initialization import normal_fill
from ..layers import Conv2d, ShapeSpec
from ..layers.shape_spec import common_width
from .build import RPN_HEAD_REGISTRY


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3×3 convolutions, then one 1×1 convolution for scores and one for deltas.

    The same weights serve all feature maps.

    Args:
        in_channels: channels of every feature map.
        num_anchors: anchors per pixel.
        box_dim: values per box, 4 or 5 for rotated ones.
        conv_dims: output channels of the 3×3 convolutions; -1 for those of the input.

    Raises:
        ValueError: if ``conv_dims`` is empty or holds a width that is neither positive
            nor -1.

    Source: Ren et al., "Faster R-CNN", 2015.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ) -> None:
        super().__init__()
        if not conv_dims or any(width < 1 and width != -1 for width in conv_dims):
            raise ValueError(f"conv_dims wants positive widths or -1, got {list(conv_dims)}")
        width = in_channels
        convolutions = []
        for out_width in conv_dims:
            out_width = width if out_width == -1 else out_width
            convolutions.append(
                Conv2d(width, out_width, kernel_size=3, padding=1, activation=nn.ReLU(inplace=True))
            )
            width = out_width
        self.conv: nn.Module
        if len(convolutions) == 1:
            self.conv = convolutions[0]
        else:
            self.conv = nn.Sequential()
            for index, convolution in enumerate(convolutions):
                self.conv.add_module(f"conv{index}", convolution)
        self.objectness_logits = nn.Conv2d(width, num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(width, num_anchors * box_dim, kernel_size=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                normal_fill(layer, std=0.01)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Score and regress the anchors of each feature map.

        Args:
            features: (N, C, H, W) for each level.

        Returns:
            For each level logits (N, A, H, W) and deltas (N, A * box_dim, H, W).
        """
        logits, deltas = [], []
        for feature in features:
            hidden = self.conv(feature)
            logits.append(self.objectness_logits(hidden))
            deltas.append(self.anchor_deltas(hidden))
        return logits, deltas

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shapes of the feature maps."""
        anchors = build_anchor_generator(cfg, input_shape)
        return {
            "in_channels": common_width(input_shape, "the RPN head"),
            "num_anchors": anchors_per_pixel(anchors, "the RPN head"),
            "box_dim": anchors.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }
