"""Heads that classify points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_config.registry import Registry
from d2_structures import Instances

from ..events import active_event_storage
from ..initialization import msra_fill, normal_fill
from ..layers import ShapeSpec

POINT_HEAD_REGISTRY: Registry[Any] = Registry("POINT_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` that classify points."""


def build_point_head(cfg: CfgNode, input_shape: ShapeSpec) -> Any:
    """Build the point head that ``cfg.MODEL.POINT_HEAD.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: its ``channels`` are those of the points' features.

    Raises:
        KeyError: if no head of that name is registered.
    """
    return POINT_HEAD_REGISTRY.get(cfg.MODEL.POINT_HEAD.NAME)(cfg, input_shape)


@POINT_HEAD_REGISTRY.register()
class StandardPointHead(nn.Module):
    """A multilayer perceptron on the fine features and the coarse prediction of a point.

    Args:
        input_shape: its ``channels`` are those of the fine features.
        num_classes: number of classes K of the coarse prediction.
        fc_dim: channels of the hidden layers.
        num_fc: number of hidden layers.
        cls_agnostic_mask: predict one value for all classes.
        coarse_pred_each_layer: give every layer the coarse prediction, not only the first.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        fc_dim: int,
        num_fc: int,
        cls_agnostic_mask: bool = False,
        coarse_pred_each_layer: bool = True,
    ) -> None:
        super().__init__()
        self.coarse_pred_each_layer = coarse_pred_each_layer
        self.fc_layers: list[nn.Conv1d] = []
        again = num_classes if coarse_pred_each_layer else 0
        channels = (input_shape.channels or 0) + num_classes
        for index in range(num_fc):
            layer = nn.Conv1d(channels, fc_dim, kernel_size=1)
            self.add_module(f"fc{index + 1}", layer)
            self.fc_layers.append(layer)
            channels = fc_dim + again
        self.predictor = nn.Conv1d(channels, 1 if cls_agnostic_mask else num_classes, 1)
        msra_fill(*self.fc_layers)
        normal_fill(self.predictor, std=0.001)

    def forward(self, fine_grained_features: Tensor, coarse_features: Tensor) -> Tensor:
        """Classify points.

        Args:
            fine_grained_features: (R, C, P).
            coarse_features: (R, K, P) logits of the coarse prediction.

        Returns:
            (R, K, P) or (R, 1, P) logits.
        """
        x = torch.cat([fine_grained_features, coarse_features], dim=1)
        for layer in self.fc_layers:
            x = F.relu(layer(x))
            if self.coarse_pred_each_layer:
                x = torch.cat([x, coarse_features], dim=1)
        logits: Tensor = self.predictor(x)
        return logits

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shape of the points' features."""
        options = cfg.MODEL.POINT_HEAD
        return {
            "input_shape": input_shape,
            "num_classes": options.NUM_CLASSES,
            "fc_dim": options.FC_DIM,
            "num_fc": options.NUM_FC,
            "cls_agnostic_mask": options.CLS_AGNOSTIC_MASK,
            "coarse_pred_each_layer": options.COARSE_PRED_EACH_LAYER,
        }


def roi_mask_point_loss(
    mask_logits: Tensor, instances: Sequence[Instances], point_labels: Tensor
) -> Tensor:
    """Binary cross entropy of points of regions, for the regions' classes.

    Args:
        mask_logits: (R, C, P) for the regions of all images; C is the number of classes, or 1
            for all of them together.
        instances: of each image with ``gt_classes``, in the order of the logits.
        point_labels: (R, P) in [0, 1]; −1 for points that do not count.

    Returns:
        Scalar, 0 if there are no regions.
    """
    if len(mask_logits) == 0:
        return mask_logits.sum() * 0
    logits = mask_logits[:, 0]
    if mask_logits.shape[1] > 1:
        classes = torch.cat([image.gt_classes for image in instances])
        logits = mask_logits[torch.arange(len(classes), device=classes.device), classes]
    counts = point_labels != -1
    _report_points(logits, point_labels, counts)
    return F.binary_cross_entropy_with_logits(
        logits, point_labels.to(logits.dtype), weight=counts.to(logits.dtype)
    )


@torch.no_grad()
def _report_points(logits: Tensor, labels: Tensor, counts: Tensor) -> None:
    storage = active_event_storage()
    if storage is not None:
        right = ((logits > 0.0) == labels.to(torch.uint8)) & counts
        storage.put_scalar("point/accuracy", right.sum() / counts.sum().clamp(min=1))
