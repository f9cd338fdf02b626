"""Implicit PointRend: for each region a little network of its own that classifies points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Instances

from ..layers import ShapeSpec
from ..roi_heads import ROI_MASK_HEAD_REGISTRY
from ..roi_heads.region_head import Losses
from .mask_head import (
    PointMaskHead,
    RegionBoxes,
    coarse_head_of,
    point_head_of,
    point_mask_options,
)
from .point_features import sample_point_labels
from .point_head import POINT_HEAD_REGISTRY, roi_mask_point_loss

_ENCODING = 256
"""Channels of the encoding of a place."""


@POINT_HEAD_REGISTRY.register()
class ImplicitPointHead(nn.Module):
    """A multilayer perceptron on points whose weights are an input.

    Args:
        input_shape: its ``channels`` are those of the points' features.
        num_classes: number of values K for each point.
        channels: of the hidden layers.
        num_layers: number of layers, the last one included.
        image_feature_enabled: give it the features of the point.
        positional_encoding_enabled: give it the place of the point in its region.

    Raises:
        ValueError: if it would have no input at all.

    Source: Cheng et al., "Pointly-Supervised Instance Segmentation", 2022, section 4; Tancik et
    al., "Fourier Features", 2020, for the encoding of places.
    """

    positional_encoding_gaussian_matrix: Tensor

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        channels: int,
        num_layers: int,
        image_feature_enabled: bool = True,
        positional_encoding_enabled: bool = True,
    ) -> None:
        super().__init__()
        if not image_feature_enabled and not positional_encoding_enabled:
            raise ValueError("an implicit point head wants image features, places, or both")
        self.image_feature_enabled = image_feature_enabled
        self.positional_encoding_enabled = positional_encoding_enabled
        inputs = (input_shape.channels or 0) if image_feature_enabled else 0
        if positional_encoding_enabled:
            inputs += _ENCODING
            matrix = torch.randn(2, _ENCODING // 2)
            self.register_buffer("positional_encoding_gaussian_matrix", matrix)
        widths = [inputs, *[channels] * (num_layers - 1), num_classes]
        self._layers = list(zip(widths[1:], widths[:-1], strict=True))  # (outputs, inputs)
        self._sizes = [o * i for o, i in self._layers] + [o for o, _ in self._layers]
        self.num_params = sum(self._sizes)

    def forward(
        self, fine_grained_features: Tensor, point_coords: Tensor, parameters: Tensor
    ) -> Tensor:
        """Classify points.

        Args:
            fine_grained_features: (R, C, P).
            point_coords: (R, P, 2) points of the regions.
            parameters: (R, num_params) weights of all layers, then biases of all layers.

        Returns:
            (R, K, P) logits.
        """
        inputs = []
        if self.positional_encoding_enabled:
            inputs.append(self._encoded(point_coords))
        if self.image_feature_enabled:
            inputs.append(fine_grained_features)
        x = torch.cat(inputs, dim=1)
        parts = parameters.split(self._sizes, dim=1)
        depth = len(self._layers)
        for index, shape in enumerate(self._layers):
            weight = parts[index].unflatten(1, shape)
            x = torch.baddbmm(parts[depth + index][:, :, None], weight, x)
            if index < depth - 1:
                x = F.relu(x)
        return x

    def _encoded(self, point_coords: Tensor) -> Tensor:
        """(R, 256, P) sines and cosines of random projections of points in [−1, 1]."""
        projected = (2.0 * point_coords - 1.0) @ self.positional_encoding_gaussian_matrix
        angles = 2.0 * math.pi * projected
        return torch.cat([angles.sin(), angles.cos()], dim=2).transpose(1, 2)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shape of the points' features."""
        options, implicit = cfg.MODEL.POINT_HEAD, cfg.MODEL.IMPLICIT_POINTREND
        return {
            "input_shape": input_shape,
            "num_classes": 1 if options.CLS_AGNOSTIC_MASK else options.NUM_CLASSES,
            "channels": options.FC_DIM,
            "num_layers": options.NUM_FC + 1,
            "image_feature_enabled": implicit.IMAGE_FEATURE_ENABLED,
            "positional_encoding_enabled": implicit.POS_ENC_ENABLED,
        }


@ROI_MASK_HEAD_REGISTRY.register()
class ImplicitPointRendMaskHead(PointMaskHead):
    """Predicts, for each region, the parameters of an `ImplicitPointHead`.

    Args:
        parameter_head: maps (R, C, S, S) features to (R, num_params) parameters.
        regularizer: factor on the mean square of the parameters, which is a loss.
        options: see `PointMaskHead`.
    """

    @configurable
    def __init__(self, *, parameter_head: nn.Module, regularizer: float, **options: Any) -> None:
        super().__init__(**options)
        self.parameter_head = parameter_head
        self.regularizer = regularizer

    def losses(self, x: Mapping[str, Tensor], instances: list[Instances]) -> Losses:
        """``loss_l2`` of the parameters and ``loss_mask_point``.

        Args:
            x: feature maps by name.
            instances: see `PointRendMaskHead.losses`.
        """
        boxes = [image.proposal_boxes for image in instances]
        parameters = self.parameter_head(self._pooled(x, boxes))
        points = torch.rand(len(parameters), self.train_num_points, 2, device=parameters.device)
        logits, in_image = self._point_logits(x, boxes, points, parameters)
        with torch.no_grad():
            labels = sample_point_labels(instances, in_image)
        # The sum over no regions is 0, their mean would be no number.
        mean_square = parameters.square().sum() / max(parameters.numel(), 1)
        return {
            "loss_l2": self.regularizer * mean_square,
            "loss_mask_point": roi_mask_point_loss(logits, instances, labels),
        }

    def _mask_logits(
        self, features: Mapping[str, Tensor], boxes: RegionBoxes, classes: Tensor
    ) -> Tensor:
        parameters = self.parameter_head(self._pooled(features, boxes))
        return self._subdivided(features, parameters, boxes, classes)

    def _classified(self, fine: Tensor, point_coords: Tensor, coarse: Tensor) -> Tensor:
        logits: Tensor = self.point_head(fine, point_coords, coarse)
        return logits

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        point_head = point_head_of(cfg, input_shape)
        # The first mask has as many pixels as are looked at in each step.
        side = math.isqrt(cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS)
        return point_mask_options(cfg, input_shape) | {
            "init_resolution": side,
            "parameter_head": coarse_head_of(cfg, input_shape, (point_head.num_params,)),
            "point_head": point_head,
            "regularizer": cfg.MODEL.IMPLICIT_POINTREND.PARAMS_L2_REGULARIZER,
        }
