"""Convolutional heads that all levels of a pyramid share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable

from ..anchor_generator import anchors_per_pixel, build_anchor_generator
from ..initialization import normal_fill
from ..layers import ShapeSpec, get_norm
from ..layers.shape_spec import common_width

_BATCH_NORMS: dict[str, Any] = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}


class RetinaNetHead(nn.Module):
    """One tower of convolutions for classes and one for boxes, the same for every level.

    Args:
        input_shape: shape of each feature map; all of the same width.
        num_classes: number of classes K.
        num_anchors: anchors A per pixel.
        conv_dims: output channels of the 3×3 convolutions of each tower.
        norm: normalisation after them, see `get_norm`. ``"BN"`` and ``"SyncBN"`` keep
            statistics of each level apart, since features of different levels differ in
            scale.
        prior_prob: probability of foreground that untrained predictions start with.

    Raises:
        ValueError: if the feature maps differ in width.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, section 4.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_classes: int,
        num_anchors: int,
        conv_dims: Sequence[int],
        norm: str = "",
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__()
        self.num_levels = len(input_shape)
        dims = [common_width(input_shape, "the head"), *conv_dims]
        self.cls_subnet, self.bbox_subnet = _towers(dims, norm, self.num_levels)
        self.cls_score = nn.Conv2d(dims[-1], num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(dims[-1], num_anchors * 4, 3, padding=1)
        towers = [*self.cls_subnet, *self.bbox_subnet]
        convolutions = [layer for layer in towers if isinstance(layer, nn.Conv2d)]
        normal_fill(*convolutions, self.cls_score, self.bbox_pred, std=0.01)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - prior_prob) / prior_prob))  # type: ignore[arg-type]  # it has a bias

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Score and regress the anchors of each feature map.

        Args:
            features: (N, C, H, W) for each level.

        Returns:
            For each level logits (N, A * K, H, W) and deltas (N, A * 4, H, W).

        Raises:
            ValueError: if the number of levels is another than that of ``input_shape``.
        """
        self.check_levels(features)
        towers = [self.towers(feature, level) for level, feature in enumerate(features)]
        logits = [self.cls_score(classes) for classes, _ in towers]
        return logits, [self.bbox_pred(boxes) for _, boxes in towers]

    def towers(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """What both towers make of the feature map of one level."""
        return _run(self.cls_subnet, feature, level), _run(self.bbox_subnet, feature, level)

    def check_levels(self, features: Sequence[Tensor]) -> None:
        """Refuse another number of levels than the head was made for."""
        if len(features) != self.num_levels:
            raise ValueError(f"the head has {self.num_levels} levels, got {len(features)} features")

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shapes of the feature maps."""
        options = cfg.MODEL.RETINANET
        anchors = build_anchor_generator(cfg, input_shape)
        return {
            "input_shape": input_shape,
            "num_classes": options.NUM_CLASSES,
            "num_anchors": anchors_per_pixel(anchors, "RetinaNet"),
            "conv_dims": [input_shape[0].channels] * options.NUM_CONVS,
            "norm": options.NORM,
            "prior_prob": options.PRIOR_PROB,
        }


class FCOSHead(RetinaNetHead):
    """`RetinaNetHead` of one anchor per pixel that also predicts how central the pixel is.

    Args:
        **kwargs: arguments of `RetinaNetHead`, except for ``num_anchors``.

    Source: Tian et al., "FCOS", 2019, section 3.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, num_anchors=1, **kwargs)
        self.ctrness = nn.Conv2d(self.bbox_pred.in_channels, 1, 3, padding=1)
        normal_fill(self.ctrness, std=0.01)

    def forward(  # type: ignore[override]  # one more output
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Score and regress the pixels of each feature map.

        Args:
            features: (N, C, H, W) for each level.

        Returns:
            For each level logits (N, K, H, W), deltas (N, 4, H, W) and centreness logits
            (N, 1, H, W).

        Raises:
            ValueError: if the number of levels is another than that of ``input_shape``.
        """
        self.check_levels(features)
        logits, deltas, centreness = [], [], []
        for level, feature in enumerate(features):
            classes, boxes = self.towers(feature, level)
            logits.append(self.cls_score(classes))
            deltas.append(self.bbox_pred(boxes))
            centreness.append(self.ctrness(boxes))
        return logits, deltas, centreness


class _LevelNorms(nn.ModuleList):
    """A batch norm for each level; scale and shift are shared."""

    def __init__(self, norm: str, channels: int, num_levels: int) -> None:
        norm_class = _BATCH_NORMS[norm]
        super().__init__(norm_class(channels, affine=False) for _ in range(num_levels))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def normalize(self, x: Tensor, level: int) -> Tensor:
        """Normalise (N, C, H, W) features of one level."""
        normalized: Tensor = self[level](x)
        return normalized * self.weight[:, None, None] + self.bias[:, None, None]


def _towers(dims: Sequence[int], norm: str, num_levels: int) -> list[nn.Sequential]:
    """Both towers; they are made layer by layer."""
    towers: list[list[nn.Module]] = [[], []]
    for in_channels, out_channels in itertools.pairwise(dims):
        for layers in towers:
            layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
            if norm in _BATCH_NORMS:
                layers.append(_LevelNorms(norm, out_channels, num_levels))
            elif norm:
                layers.append(get_norm(norm, out_channels) or nn.Identity())
            layers.append(nn.ReLU(inplace=True))
    return [nn.Sequential(*layers) for layers in towers]


def _run(tower: nn.Sequential, x: Tensor, level: int) -> Tensor:
    for layer in tower:
        x = layer.normalize(x, level) if isinstance(layer, _LevelNorms) else layer(x)
    return x
