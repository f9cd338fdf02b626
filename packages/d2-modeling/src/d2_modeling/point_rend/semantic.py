"""PointRend for semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable

from ..layers import ShapeSpec
from ..meta_arch.sem_seg_head import SEM_SEG_HEADS_REGISTRY
from ..pixel_losses import mean_cross_entropy
from .mask_head import channels_of
from .point_features import (
    features_at,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    with_points,
)
from .point_head import build_point_head


@SEM_SEG_HEADS_REGISTRY.register()
class PointRendSemSegHead(nn.Module):
    """A semantic head whose prediction is refined by a point head.

    Args:
        coarse_sem_seg_head: a head with the methods ``layers`` and ``losses`` and the attribute
            ``ignore_value``, see `SemSegFPNHead`.
        point_head: classifies points.
        in_features: feature maps that points are classified from.
        train_num_points: points of each image in training.
        oversample_ratio, importance_sample_ratio: see
            `get_uncertain_point_coords_with_randomness`.
        subdivision_steps: how often the prediction doubles in inference.
        subdivision_num_points: points that are looked at anew in each step.
    """

    @configurable
    def __init__(
        self,
        *,
        coarse_sem_seg_head: nn.Module,
        point_head: nn.Module,
        in_features: Sequence[str],
        train_num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        subdivision_steps: int,
        subdivision_num_points: int,
    ) -> None:
        super().__init__()
        self.coarse_sem_seg_head: Any = coarse_sem_seg_head
        self.point_head = point_head
        self.in_features = tuple(in_features)
        self.ignore_value: Any = coarse_sem_seg_head.ignore_value
        self.num_classes: Any = getattr(coarse_sem_seg_head, "num_classes", None)
        self.train_num_points = train_num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.subdivision_steps = subdivision_steps
        self.subdivision_num_points = subdivision_num_points

    def forward(
        self, features: Mapping[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Label pixels.

        Args:
            features: feature maps by name.
            targets: (N, H, W) int64 labels of the padded input; in training only.

        Returns:
            In training None and the losses, those of the coarse head and
            ``loss_sem_seg_point``; otherwise (N, K, H, W) logits, ``2 ** subdivision_steps``
            times larger than the coarse ones, and no losses.

        Raises:
            ValueError: in training without targets.
        """
        coarse = self.coarse_sem_seg_head.layers(features)
        if not self.training:
            return self._subdivided(features, coarse), {}
        if targets is None:
            raise ValueError("the semantic head wants targets while training, got None")
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                coarse,
                class_uncertainty,
                self.train_num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            labels = point_sample(targets[:, None].to(torch.float32), points, mode="nearest")
        logits = self._classified(features, coarse, points)
        loss = mean_cross_entropy(logits, labels[:, 0].long(), self.ignore_value)
        return None, {
            **self.coarse_sem_seg_head.losses(coarse, targets),
            "loss_sem_seg_point": loss,
        }

    def _subdivided(self, features: Mapping[str, Tensor], coarse: Tensor) -> Tensor:
        logits = coarse
        for _ in range(self.subdivision_steps):
            logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
            indices, points = get_uncertain_point_coords_on_grid(
                class_uncertainty(logits), self.subdivision_num_points
            )
            logits = with_points(logits, indices, self._classified(features, coarse, points))
        return logits

    def _classified(self, features: Mapping[str, Tensor], coarse: Tensor, points: Tensor) -> Tensor:
        fine = features_at(features, self.in_features, points)
        logits: Tensor = self.point_head(fine, point_sample(coarse, points))
        return logits

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        points = cfg.MODEL.POINT_HEAD
        coarse = SEM_SEG_HEADS_REGISTRY.get(points.COARSE_SEM_SEG_HEAD_NAME)
        channels = channels_of(input_shape, points.IN_FEATURES)
        return {
            "coarse_sem_seg_head": coarse(cfg, input_shape),
            "point_head": build_point_head(cfg, ShapeSpec(channels=channels, height=1, width=1)),
            "in_features": points.IN_FEATURES,
            "train_num_points": points.TRAIN_NUM_POINTS,
            "oversample_ratio": points.OVERSAMPLE_RATIO,
            "importance_sample_ratio": points.IMPORTANCE_SAMPLE_RATIO,
            "subdivision_steps": points.SUBDIVISION_STEPS,
            "subdivision_num_points": points.SUBDIVISION_NUM_POINTS,
        }


def class_uncertainty(logits: Tensor) -> Tensor:
    """How close the two largest of (N, K, …) logits are: (N, 1, …), at most 0."""
    first, second = logits.topk(2, dim=1).values.split(1, dim=1)
    return second - first
