"""Semantic segmentation on a feature pyramid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_config.registry import Registry

from ..initialization import msra_fill
from ..layers import Conv2d, ShapeSpec, get_norm
from ..layers.convolution import Norm
from ..layers.shape_spec import select_shapes
from ..pixel_losses import mean_cross_entropy

SEM_SEG_HEADS_REGISTRY: Registry[Any] = Registry("SEM_SEG_HEADS")
"""Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module`` that label pixels."""


def build_sem_seg_head(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> nn.Module:
    """Build the head that ``cfg.MODEL.SEM_SEG_HEAD.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shapes of the backbone's feature maps.

    Raises:
        KeyError: if no head of that name is registered.
    """
    name = cfg.MODEL.SEM_SEG_HEAD.NAME
    head: nn.Module = SEM_SEG_HEADS_REGISTRY.get(name)(cfg, input_shape)
    return head


class SemSegHead(nn.Module):
    """What heads share that label pixels at a stride of the input.

    Args:
        common_stride: stride of the predictions.
        loss_weight: factor on the loss.
        ignore_value: label of pixels that do not count.
    """

    def __init__(self, common_stride: int, loss_weight: float, ignore_value: int) -> None:
        super().__init__()
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.ignore_value = ignore_value

    def forward(
        self, features: Mapping[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Label pixels.

        Args:
            features: feature maps by name.
            targets: (N, H, W) int64 labels of the padded input; in training only.

        Returns:
            In training None and the losses; otherwise (N, K, H, W) logits at the input's
            resolution, and no losses.

        Raises:
            ValueError: in training without targets.
        """
        logits = self.layers(features)
        if not self.training:
            return enlarged(logits, self.common_stride), {}
        if targets is None:
            raise ValueError("the semantic head wants targets while training, got None")
        return None, self.losses(logits, targets)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """The (N, K, H / common_stride, W / common_stride) logits."""
        raise NotImplementedError(f"{type(self).__name__} must implement layers()")

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """``loss_sem_seg``, weighted.

        Args:
            predictions: what `layers` returned.
            targets: (N, H, W) int64.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement losses()")


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Maps (N, C, H, W), bilinearly interpolated to ``factor`` times their size."""
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNHead(SemSegHead):
    """Brings all levels of a pyramid to one stride, adds them, and labels each pixel.

    Each level passes a 3×3 convolution per doubling of its resolution (one if there is
    nothing to double).

    Args:
        input_shape: shape of each feature map to use; strides are powers of two.
        num_classes: number of classes K.
        conv_dims: channels of the convolutions.
        common_stride: stride of the sum, not larger than that of any feature map.
        loss_weight: factor on the loss.
        norm: normalisation of the convolutions, see `get_norm`.
        ignore_value: label of pixels that do not count.

    Raises:
        ValueError: if a feature map is finer than the common stride, or there is none.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, figure 3.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        common_stride: int,
        loss_weight: float = 1.0,
        norm: Norm | None = None,
        ignore_value: int = -1,
    ) -> None:
        super().__init__(common_stride, loss_weight, ignore_value)
        if not input_shape:
            raise ValueError("the semantic head wants at least one feature map, got none")
        self.in_features = sorted(input_shape, key=lambda name: input_shape[name].stride or 0)
        for name in self.in_features:
            doublings = _doublings(name, input_shape[name].stride, common_stride)
            self.add_module(
                name, _level(input_shape[name].channels or 0, conv_dims, doublings, norm)
            )
        self.num_classes = num_classes
        self.predictor = Conv2d(conv_dims, num_classes, kernel_size=1)
        msra_fill(self.predictor)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """The (N, K, H / common_stride, W / common_stride) logits."""
        first, *others = (self.get_submodule(n)(features[n]) for n in self.in_features)
        for other in others:
            first = first + other
        logits: Tensor = self.predictor(first)
        return logits

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy, averaged over the pixels that count; 0 if there is none.

        Args:
            predictions: what `layers` returned.
            targets: (N, H, W) int64.

        Returns:
            ``loss_sem_seg``, weighted.
        """
        # In half precision the resizing would lose too much.
        logits = enlarged(predictions.float(), self.common_stride)
        loss = mean_cross_entropy(logits, targets, self.ignore_value)
        return {"loss_sem_seg": loss * self.loss_weight}

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        options = cfg.MODEL.SEM_SEG_HEAD
        names = options.IN_FEATURES
        shapes = select_shapes(input_shape, names, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
        return {
            "input_shape": dict(zip(names, shapes, strict=True)),
            "num_classes": options.NUM_CLASSES,
            "conv_dims": options.CONVS_DIM,
            "common_stride": options.COMMON_STRIDE,
            "loss_weight": options.LOSS_WEIGHT,
            "norm": options.NORM,
            "ignore_value": options.IGNORE_VALUE,
        }


def _doublings(name: str, stride: int | None, common_stride: int) -> int:
    """How often the resolution of a feature map has to be doubled."""
    doublings = math.log2(stride / common_stride) if stride else -1.0
    if doublings < 0 or doublings != int(doublings):
        raise ValueError(
            f"common_stride {common_stride} times a power of two has to be the stride of "
            f"feature map {name!r}, which is {stride}"
        )
    return int(doublings)


def _level(in_channels: int, width: int, doublings: int, norm: Norm | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(max(1, doublings)):
        convolution = Conv2d(
            in_channels if index == 0 else width,
            width,
            kernel_size=3,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, width),
            activation=F.relu,
        )
        msra_fill(convolution)
        layers.append(convolution)
        if doublings > 0:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
