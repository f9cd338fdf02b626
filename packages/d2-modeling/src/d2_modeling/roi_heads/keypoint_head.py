"""Keypoints of regions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Instances

from ..batched_selection import Detections
from ..events import active_event_storage
from ..host_waits import asking_waits
from ..initialization import msra_fill
from ..layers import ConvTranspose2d, ShapeSpec, cat, interpolate
from ..losses import summed_where
from .build import ROI_KEYPOINT_HEAD_REGISTRY
from .region_head import Losses, RegionHead

_SKIPPED = "kpts_num_skipped_batches"


def keypoint_rcnn_loss(
    pred_keypoint_logits: Tensor, instances: Sequence[Instances], normalizer: float | None
) -> Tensor:
    """Cross entropy over the S * S positions of each visible keypoint.

    Args:
        pred_keypoint_logits: (B, K, S, S) for the B instances of all images.
        instances: for each image, in that order, with ``gt_keypoints`` and
            ``proposal_boxes``.
        normalizer: what the sum is divided by; None for the number of visible keypoints.

    Returns:
        Scalar, 0 if no keypoint is visible inside its region.

    Source: He et al., "Mask R-CNN", 2017, section 5.
    """
    size = pred_keypoint_logits.shape[-1]
    targets, visible = [], []
    for image in instances:
        if len(image) > 0:
            image_targets, image_visible = image.gt_keypoints.to_heatmap(
                image.proposal_boxes.tensor, size
            )
            targets.append(image_targets.flatten())
            visible.append(image_visible.flatten().bool())
    logits = pred_keypoint_logits.flatten(2).flatten(0, 1)
    counted = torch.cat(visible) if visible else torch.zeros(0, dtype=torch.bool)
    # Where it is not asked, some are: `select_foreground_with_keypoints` leaves out the others.
    if counted.numel() == 0 or not (asking_waits(counted) or counted.any()):
        _report_skipped_batch()
        return pred_keypoint_logits.sum() * 0
    loss = summed_where(counted, F.cross_entropy, logits, torch.cat(targets))
    return loss / (counted.sum().clamp(min=1) if normalizer is None else normalizer)


def _report_skipped_batch() -> None:
    """Count a batch without visible keypoints among those of the run so far."""
    storage = active_event_storage()
    if storage is not None:
        before, _ = storage.latest().get(_SKIPPED, (0, 0))
        storage.put_scalar(_SKIPPED, before + 1, smoothing_hint=False)


def keypoint_rcnn_inference(
    pred_keypoint_logits: Tensor, pred_instances: Sequence[Instances]
) -> None:
    """Set ``pred_keypoints`` and ``pred_keypoint_heatmaps`` of each image.

    Args:
        pred_keypoint_logits: (B, K, S, S) for the B instances of all images.
        pred_instances: for each image with ``pred_boxes``; gets (N, K, 3) keypoints
            (x, y, score) and the (N, K, S, S) logits.
    """
    if not pred_instances:
        return
    boxes = cat([image.pred_boxes.tensor for image in pred_instances])
    logits = pred_keypoint_logits.detach()
    keypoints = keypoints_of_heatmaps(logits, boxes.detach())
    counts = [len(image) for image in pred_instances]
    for image, image_keypoints, heatmaps in zip(
        pred_instances, keypoints.split(counts), logits.split(counts), strict=True
    ):
        image.pred_keypoints = image_keypoints
        image.pred_keypoint_heatmaps = heatmaps


def keypoints_of_heatmaps(logits: Tensor, boxes: Tensor) -> Tensor:
    """(B, K, 3) keypoints (x, y, score) from (B, K, S, S) logits of (B, 4) boxes."""
    from d2_structures import heatmaps_to_keypoints

    return heatmaps_to_keypoints(logits, boxes)[:, :, [0, 1, 3]]


class BaseKeypointRCNNHead(RegionHead):
    """Loss and inference of Keypoint R-CNN around the layers of a subclass.

    Args:
        num_keypoints: keypoints per instance.
        loss_weight: factor on the loss.
        loss_normalizer: number that the summed loss is divided by (times the number of
            images), or ``"visible"`` for the number of visible keypoints in the batch.

    Raises:
        ValueError: if the normalizer is another string.
    """

    @configurable
    def __init__(
        self,
        *,
        num_keypoints: int,
        loss_weight: float = 1.0,
        loss_normalizer: float | str = 1.0,
    ) -> None:
        super().__init__()
        if isinstance(loss_normalizer, str) and loss_normalizer != "visible":
            raise ValueError(f"loss_normalizer: a number or 'visible', got {loss_normalizer!r}")
        self.num_keypoints = num_keypoints
        self.loss_weight = loss_weight
        self.loss_normalizer = loss_normalizer

    def losses(self, x: Any, instances: list[Instances]) -> Losses:
        """``loss_keypoint`` of regions with ``gt_keypoints``, see `keypoint_rcnn_loss`.

        Args:
            x: region features, as the ROI heads give them.
            instances: for each image the regions with ``proposal_boxes`` and ground truth.
        """
        normalizer = None
        if not isinstance(self.loss_normalizer, str):
            normalizer = len(instances) * self.loss_normalizer
        loss = keypoint_rcnn_loss(self.layers(x), instances, normalizer)
        return {"loss_keypoint": loss * self.loss_weight}

    def inference(self, x: Any, instances: list[Instances]) -> list[Instances]:
        """The instances with keypoints, see `keypoint_rcnn_inference`.

        Args:
            x: region features, as the ROI heads give them.
            instances: for each image the regions with ``pred_boxes``.
        """
        keypoint_rcnn_inference(self.layers(x), instances)
        return instances

    def predict_tensors(self, x: Any, found: Detections) -> Tensor:
        """`inference` as a function of tensors: (D, K, 3) of x, y and score.

        Args:
            x: features of the detections, as the ROI heads give them.
            found: the detections of all images.
        """
        return keypoints_of_heatmaps(self.layers(x), found.boxes)

    @abstractmethod
    def layers(self, x: Any) -> Tensor:
        """Map region features to (B, K, S, S) keypoint logits."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Any) -> dict[str, Any]:
        """The constructor's arguments out of a config; the shape is for subclasses."""
        options, heads = cfg.MODEL.ROI_KEYPOINT_HEAD, cfg.MODEL.ROI_HEADS
        # All keypoints that the foreground of an image's sample could have.
        possible = options.NUM_KEYPOINTS * heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION
        by_visible = options.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS
        return {
            "num_keypoints": options.NUM_KEYPOINTS,
            "loss_weight": options.LOSS_WEIGHT,
            "loss_normalizer": "visible" if by_visible else possible,
        }


@ROI_KEYPOINT_HEAD_REGISTRY.register()
class KRCNNConvDeconvUpsampleHead(BaseKeypointRCNNHead):
    """3×3 convolutions, a deconvolution that doubles the size, bilinear doubling.

    Args:
        input_shape: channels of the region features.
        num_keypoints: keypoints per instance.
        conv_dims: output channels of the convolutions.
        loss_weight: see `BaseKeypointRCNNHead`.
        loss_normalizer: see `BaseKeypointRCNNHead`.

    Source: He et al., "Mask R-CNN", 2017, section 5.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_keypoints: int,
        conv_dims: Sequence[int],
        loss_weight: float = 1.0,
        loss_normalizer: float | str = 1.0,
    ) -> None:
        super().__init__(
            num_keypoints=num_keypoints, loss_weight=loss_weight, loss_normalizer=loss_normalizer
        )
        if not isinstance(input_shape, ShapeSpec) or input_shape.channels is None:
            raise ValueError(f"the keypoint head wants the number of channels, got {input_shape}")
        width = input_shape.channels
        self._conv_names: list[str] = []
        convolutions: list[nn.Conv2d] = []
        for number, out_width in enumerate(conv_dims, start=1):
            layer = nn.Conv2d(width, out_width, 3, padding=1)
            convolutions.append(layer)
            self.add_module(f"conv_fcn{number}", layer)
            self._conv_names.append(f"conv_fcn{number}")
            width = out_width
        self.score_lowres = ConvTranspose2d(width, num_keypoints, 4, stride=2, padding=1)
        msra_fill(*convolutions, self.score_lowres)
        self.up_scale = 2

    def layers(self, x: Tensor) -> Tensor:
        """Map (B, C, S, S) to (B, num_keypoints, 4S, 4S)."""
        for name in self._conv_names:
            x = F.relu_(self.get_submodule(name)(x))
        return interpolate(
            self.score_lowres(x), scale_factor=self.up_scale, mode="bilinear", align_corners=False
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shape of the region features."""
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "conv_dims": cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS,
        }
