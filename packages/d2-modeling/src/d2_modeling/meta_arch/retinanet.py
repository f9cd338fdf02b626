"""RetinaNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2_config import CfgNode, configurable
from d2_structures import Boxes, ImageList, Instances

from ..anchor_generator import build_anchor_generator
from ..backbone import build_backbone
from ..box_regression import Box2BoxTransform
from ..dense import Candidates, DenseDetector, RetinaNetHead, labels_by_overlap
from ..dense.detector import Predictions
from ..dense.labels import Labels
from ..events import active_event_storage
from ..image_input import BatchedInputs
from ..layers.shape_spec import select_shapes
from ..matcher import Matcher
from ..postprocessing import detector_postprocess
from .box_pictures import put_box_picture
from .build import META_ARCH_REGISTRY

_PICTURE_NAME = "Left: GT bounding boxes;  Right: Predicted results"


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """A detector that scores and regresses every anchor in one stage.

    Args:
        anchor_matcher: labels anchors by their overlap with ground truth.
        vis_period: every so many iterations put a picture of predictions beside ground
            truth into the event storage; 0 never.
        input_format: meaning of the channels, ``"RGB"`` or ``"BGR"``; for pictures only.
        **kwargs: arguments of `DenseDetector`; the head is like `RetinaNetHead`.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """

    @configurable
    def __init__(
        self,
        *,
        anchor_matcher: Matcher,
        vis_period: int = 0,
        input_format: str = "BGR",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.anchor_matcher = anchor_matcher
        self.vis_period = vis_period
        self.input_format = input_format

    def forward_training(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        features: Sequence[Tensor],
        predictions: Predictions,
        gt_instances: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """See `DenseDetector.forward_training`."""
        losses = super().forward_training(
            batched_inputs, images, features, predictions, gt_instances
        )
        storage = active_event_storage()
        if self.vis_period > 0 and storage is not None and storage.iter % self.vis_period == 0:
            results = self.forward_inference(images, features, predictions)
            self.visualize_training(batched_inputs, results)
        return losses

    @torch.no_grad()
    def label_anchors(self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]) -> Labels:
        """Give anchors the class and box of the ground truth they overlap most.

        See `DenseDetector.label_anchors`.
        """
        return labels_by_overlap(
            anchors, gt_instances, matcher=self.anchor_matcher, num_classes=self.num_classes
        )

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
        *others: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """``loss_cls`` of all anchors and ``loss_box_reg`` of the foreground.

        See `DenseDetector.anchor_losses`.
        """
        found = self.anchor_losses(anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes)
        return {"loss_cls": found.classification, "loss_box_reg": found.regression}

    def level_candidates(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, *others: Tensor
    ) -> Candidates:
        """See `DenseDetector.level_candidates`; only the logits of the best become scores."""
        best = self.best_candidates(anchors, logits, deltas)
        return best._replace(scores=best.scores.sigmoid())

    @torch.no_grad()
    def inference(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Detections out of predictions.

        Args:
            anchors: anchors of each level.
            pred_logits: (N, R_l, K) for each level.
            pred_anchor_deltas: (N, R_l, 4) for each level.
            image_sizes: for each of the N images (height, width).

        Returns:
            For each image ``pred_boxes``, ``scores`` and ``pred_classes``, by decreasing
            score, in the resolution of the network's input.
        """
        return self._instances(anchors, (pred_logits, pred_anchor_deltas), image_sizes)

    def inference_single_image(
        self,
        anchors: Sequence[Boxes],
        box_cls: Sequence[Tensor],
        box_delta: Sequence[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """`inference` of one image.

        Args:
            anchors: anchors of each level.
            box_cls: (R_l, K) logits for each level.
            box_delta: (R_l, 4) for each level.
            image_size: (height, width).
        """
        (result,) = self.inference(
            anchors,
            [logits[None] for logits in box_cls],
            [deltas[None] for deltas in box_delta],
            [image_size],
        )
        return result

    def visualize_training(
        self, batched_inputs: BatchedInputs, results: Sequence[Instances]
    ) -> None:
        """Put a picture of the first image's ground truth and best detections into the storage.

        Args:
            batched_inputs: see `forward`, with ``instances``.
            results: for each image with ``pred_boxes``, by decreasing score.
        """
        image = batched_inputs[0]["image"]
        found = detector_postprocess(results[0], image.shape[1], image.shape[2])
        put_box_picture(
            batched_inputs[0], found.pred_boxes.tensor, self.input_format, _PICTURE_NAME
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        options = cfg.MODEL.RETINANET
        backbone = build_backbone(cfg)
        shapes = select_shapes(
            backbone.output_shape(), options.IN_FEATURES, "MODEL.RETINANET.IN_FEATURES"
        )
        return {
            "backbone": backbone,
            "head": RetinaNetHead(cfg, shapes),
            "head_in_features": options.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "box2box_transform": Box2BoxTransform(options.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(
                options.IOU_THRESHOLDS, options.IOU_LABELS, allow_low_quality_matches=True
            ),
            "num_classes": options.NUM_CLASSES,
            "focal_loss_alpha": options.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": options.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": options.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": options.BBOX_REG_LOSS_TYPE,
            "test_score_thresh": options.SCORE_THRESH_TEST,
            "test_topk_candidates": options.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": options.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "vis_period": cfg.VIS_PERIOD,
            "input_format": cfg.INPUT.FORMAT,
        }
