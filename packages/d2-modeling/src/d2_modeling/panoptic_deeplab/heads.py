"""Heads for the class of each pixel, and for centre and offset of its instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_config.registry import Registry

from ..deeplab.heads import (
    DeepLabV3PlusHead,
    decoder_options,
    predictor,
    two_convolutions,
)
from ..deeplab.losses import pixel_loss
from ..layers import ShapeSpec
from ..meta_arch.sem_seg_head import SEM_SEG_HEADS_REGISTRY, enlarged

INS_EMBED_BRANCHES_REGISTRY: Registry[Any] = Registry("INS_EMBED_BRANCHES")
"""Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module`` that embed instances."""


def build_ins_embed_branch(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> nn.Module:
    """Build the head that ``cfg.MODEL.INS_EMBED_HEAD.NAME`` names.

    Raises:
        KeyError: if no head of that name is registered.
    """
    name = cfg.MODEL.INS_EMBED_HEAD.NAME
    head: nn.Module = INS_EMBED_BRANCHES_REGISTRY.get(name)(cfg, input_shape)
    return head


@SEM_SEG_HEADS_REGISTRY.register()
class PanopticDeepLabSemSegHead(DeepLabV3PlusHead):
    """The decoder of DeepLab v3+, two convolutions, and the predictor of the classes.

    Args:
        input_shape: shapes of the feature maps to use.
        head_channels: channels of the last convolution.
        num_classes: number of classes K.
        loss_top_k: share of the pixels that ``"hard_pixel_mining"`` averages.
        norm, decoder_channels, use_depthwise_separable_conv, loss_type, ignore_value, kwargs: see
            `DeepLabV3PlusHead`.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        head_channels: int,
        num_classes: int,
        loss_top_k: float,
        norm: Any,
        decoder_channels: list[int],
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        use_depthwise_separable_conv: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_shape,
            norm=norm,
            decoder_channels=decoder_channels,
            loss_type=loss_type,
            ignore_value=ignore_value,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
            **kwargs,
        )
        self.head = two_convolutions(
            *(decoder_channels[0], decoder_channels[0], head_channels),
            norm=norm,
            separable=use_depthwise_separable_conv,
        )
        self.num_classes = num_classes
        self.predictor = predictor(head_channels, num_classes)
        self.loss = pixel_loss(loss_type, ignore_value, loss_top_k)

    def forward(
        self,
        features: Mapping[str, Tensor],
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Label pixels, see `SemSegHead.forward`.

        Args:
            features: feature maps by name.
            targets: (N, H, W) int64 labels of the padded input; in training only.
            weights: (N, H, W) factor of each pixel's loss.
        """
        if self.training and targets is not None:
            return None, self.losses(self.layers(features), targets, weights)
        return super().forward(features, targets)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """The (N, K, H / common_stride, W / common_stride) logits."""
        assert self.predictor is not None
        logits: Tensor = self.predictor(self.head(self.decoder(features)))
        return logits

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        options = cfg.MODEL.SEM_SEG_HEAD
        return super().from_config(cfg, input_shape) | {
            "head_channels": options.HEAD_CHANNELS,
            "loss_top_k": options.LOSS_TOP_K,
        }


@INS_EMBED_BRANCHES_REGISTRY.register()
class PanopticDeepLabInsEmbedHead(DeepLabV3PlusHead):
    """The decoder of DeepLab v3+, and predictors of centres and of offsets to them.

    Args:
        input_shape: shapes of the feature maps to use.
        head_channels: channels of the last convolution before each predictor.
        center_loss_weight: factor on the loss of the centres.
        offset_loss_weight: factor on the loss of the offsets.
        norm, decoder_channels, use_depthwise_separable_conv, kwargs: see `DeepLabV3PlusHead`.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        head_channels: int,
        center_loss_weight: float,
        offset_loss_weight: float,
        norm: Any,
        decoder_channels: list[int],
        use_depthwise_separable_conv: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_shape,
            norm=norm,
            decoder_channels=decoder_channels,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
            **kwargs,
        )
        width = decoder_channels[0]
        head = {"norm": norm, "separable": use_depthwise_separable_conv}
        # Centres have plain convolutions in both variants.
        self.center_head = two_convolutions(width, width, head_channels, norm=norm, separable=False)
        self.center_predictor = predictor(head_channels, 1)
        self.offset_head = two_convolutions(width, width, head_channels, **head)
        self.offset_predictor = predictor(head_channels, 2)
        self.center_loss_weight = center_loss_weight
        self.offset_loss_weight = offset_loss_weight

    def forward(  # type: ignore[override]  # centres and offsets are two things
        self,
        features: Mapping[str, Tensor],
        center_targets: Tensor | None = None,
        center_weights: Tensor | None = None,
        offset_targets: Tensor | None = None,
        offset_weights: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor], dict[str, Tensor]]:
        """Predict centres and offsets.

        Args:
            features: feature maps by name.
            center_targets: (N, 1, H, W) heat map of the padded input; in training only.
            center_weights: (N, 1, H, W) factor of each pixel's loss.
            offset_targets: (N, 2, H, W) (dy, dx) from each pixel to its centre, in pixels.
            offset_weights: (N, 1, H, W).

        Returns:
            In training None, None and the losses of both; otherwise (N, 1, H, W) and
            (N, 2, H, W) at the input's resolution, and no losses.

        Raises:
            ValueError: in training without targets and their weights.
        """
        centers, offsets = self.layers(features)
        stride = self.common_stride
        if not self.training:
            return enlarged(centers, stride), enlarged(offsets, stride) * stride, {}, {}
        given = (center_targets, center_weights, offset_targets, offset_weights)
        if any(value is None for value in given):
            raise ValueError(
                "the head wants targets and weights of centres and offsets while training"
            )
        return (
            None,
            None,
            self.center_losses(centers, center_targets, center_weights),  # type: ignore[arg-type]  # there they are
            self.offset_losses(offsets, offset_targets, offset_weights),  # type: ignore[arg-type]  # there they are
        )

    def layers(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # two things
        """Centres and offsets at 1 / common_stride of the input's resolution, in its pixels."""
        merged = self.decoder(features)
        return (
            self.center_predictor(self.center_head(merged)),
            self.offset_predictor(self.offset_head(merged)),
        )

    def center_losses(
        self, predictions: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """``loss_center``: the weighted mean square error of heat maps."""
        errors = F.mse_loss(enlarged(predictions, self.common_stride), targets, reduction="none")
        return {"loss_center": _weighted_mean(errors, weights) * self.center_loss_weight}

    def offset_losses(
        self, predictions: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """``loss_offset``: the weighted mean absolute error of offsets, both axes added."""
        offsets = enlarged(predictions, self.common_stride) * self.common_stride
        errors = F.l1_loss(offsets, targets, reduction="none")
        return {"loss_offset": _weighted_mean(errors, weights) * self.offset_loss_weight}

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        options = cfg.MODEL.INS_EMBED_HEAD
        return decoder_options(cfg, options, input_shape, "INS_EMBED_HEAD") | {
            "head_channels": options.HEAD_CHANNELS,
            "center_loss_weight": options.CENTER_LOSS_WEIGHT,
            "offset_loss_weight": options.OFFSET_LOSS_WEIGHT,
        }


def _weighted_mean(errors: Tensor, weights: Tensor) -> Tensor:
    """Σ errors · weights / Σ weights; 0 where nothing has a weight."""
    total = weights.sum()
    return (errors * weights).sum() / total.where(total > 0, total.new_ones(()))
