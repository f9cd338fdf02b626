"""RetinaNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Boxes, ImageList, Instances

from ..anchor_generator import build_anchor_generator
from ..backbone import Backbone, build_backbone
from ..batched_selection import Detections, counts_per_image, detections_of_images
from ..box_regression import Box2BoxTransform, BoxTransform, dense_box_regression_loss
from ..dense_predictions import best_of_level, detections_of_levels, per_anchor
from ..events import active_event_storage
from ..focal_loss import dense_focal_loss
from ..layers import cat
from ..layers.shape_spec import select_shapes
from ..matcher import Matcher, classes_of_matches, match_boxes
from ..postprocessing import detector_postprocess
from .box_pictures import put_box_picture
from .build import META_ARCH_REGISTRY
from .dense_detector import DenseDetector
from .image_input import BatchedInputs
from .retinanet_head import RetinaNetHead

_PICTURE_NAME = "Left: GT bounding boxes;  Right: Predicted results"


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """A detector that scores and regresses every anchor in one stage.

    Args:
        backbone: maps images to feature maps.
        head: maps a list of feature maps to logits and deltas, see `RetinaNetHead`.
        head_in_features: names of the feature maps for the head.
        anchor_generator: maps that list to anchors.
        box2box_transform: encoding of boxes relative to anchors.
        anchor_matcher: labels anchors by their overlap with ground truth.
        num_classes: number of classes K, background not counted.
        focal_loss_alpha: weight of positives in the focal loss.
        focal_loss_gamma: its exponent.
        smooth_l1_beta: where smooth L1 turns linear; 0 for L1.
        box_reg_loss_type: ``"smooth_l1"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        test_score_thresh: lowest score of a detection.
        test_topk_candidates: pairs of anchor and class decoded per level.
        test_nms_thresh: IoU threshold of the suppression within a class.
        max_detections_per_image: number of detections per image.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
        vis_period: every so many iterations put a picture of predictions beside ground
            truth into the event storage; 0 never.
        input_format: meaning of the channels, ``"RGB"`` or ``"BGR"``; for pictures only.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: BoxTransform,
        anchor_matcher: Matcher,
        num_classes: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        vis_period: int = 0,
        input_format: str = "BGR",
    ) -> None:
        super().__init__(
            backbone=backbone,
            head=head,
            head_in_features=head_in_features,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            initial_normalizer=100,
        )
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.num_classes = num_classes
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.vis_period = vis_period
        self.input_format = input_format

    def forward_training(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        features: Sequence[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
        gt_instances: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """See `DenseDetector.forward_training`."""
        logits, deltas = self._per_anchor(predictions)
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        storage = active_event_storage()
        if self.vis_period > 0 and storage is not None and storage.iter % self.vis_period == 0:
            results = self.inference(anchors, logits, deltas, images.image_sizes)
            self.visualize_training(batched_inputs, results)
        return losses

    def forward_inference(
        self,
        images: ImageList,
        features: Sequence[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
    ) -> list[Instances]:
        """See `DenseDetector.forward_inference`."""
        logits, deltas = self._per_anchor(predictions)
        return self.inference(self.anchor_generator(features), logits, deltas, images.image_sizes)

    def _per_anchor(
        self, predictions: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The head's outputs as (N, R_l, K) and (N, R_l, 4) per level."""
        logits, deltas = predictions
        return (
            [per_anchor(level, self.num_classes) for level in logits],
            [per_anchor(level, 4) for level in deltas],
        )

    @torch.no_grad()
    def label_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Give anchors the class and box of the ground truth they overlap most.

        Args:
            anchors: anchors of each level, R in all.
            gt_instances: for each image with ``gt_boxes`` and ``gt_classes``.

        Returns:
            For each image (R,) classes: K for background, -1 for ignored; and (R, 4) ground
            truth boxes, meaningful for foreground.
        """
        all_anchors = Boxes.cat(list(anchors))
        labels, boxes = [], []
        for gt in gt_instances:
            matched_idxs, matched_labels = match_boxes(
                self.anchor_matcher, gt.gt_boxes, all_anchors
            )
            labels.append(
                classes_of_matches(matched_idxs, matched_labels, gt.gt_classes, self.num_classes)
            )
            if len(gt) == 0:
                boxes.append(torch.zeros_like(all_anchors.tensor))
            else:
                boxes.append(gt.gt_boxes.tensor[matched_idxs])
        return labels, boxes

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Focal loss of all anchors and regression loss of the foreground.

        Args:
            anchors: anchors of each level.
            pred_logits: (N, R_l, K) for each level.
            gt_labels: (R,) for each image, see `label_anchors`.
            pred_anchor_deltas: (N, R_l, 4) for each level.
            gt_boxes: (R, 4) for each image.

        Returns:
            ``loss_cls`` and ``loss_box_reg``, both over the running mean number of
            foreground anchors.
        """
        labels = torch.stack(list(gt_labels))
        foreground = (labels >= 0) & (labels != self.num_classes)
        normalizer = self.normalizer_of(foreground)
        loss_cls = dense_focal_loss(
            cat(list(pred_logits), dim=1),
            labels,
            alpha=self.focal_loss_alpha,
            gamma=self.focal_loss_gamma,
        )
        loss_box_reg = dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            foreground,
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        return {"loss_cls": loss_cls / normalizer, "loss_box_reg": loss_box_reg / normalizer}

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
        found = self.detect(anchors, pred_logits, pred_anchor_deltas)
        counts = counts_per_image(found.batch_index, len(image_sizes))
        return detections_of_images(found, image_sizes, counts)

    def detect(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
    ) -> Detections:
        """`inference` as a function of tensors, whose boxes are not clipped either."""
        levels = []
        for level, logits, deltas in zip(anchors, pred_logits, pred_anchor_deltas, strict=True):
            best = best_of_level(
                level.tensor,
                logits,
                deltas,
                box2box_transform=self.box2box_transform,
                topk=self.test_topk_candidates,
            )
            levels.append(best._replace(scores=best.scores.sigmoid()))
        return detections_of_levels(
            levels,
            num_classes=self.num_classes,
            score_thresh=self.test_score_thresh,
            nms_thresh=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
        )

    def predict_detections(
        self, features: Sequence[Tensor], predictions: tuple[list[Tensor], list[Tensor]]
    ) -> Detections:
        """See `DenseDetector.predict_detections`."""
        return self.detect(self.anchor_generator(features), *self._per_anchor(predictions))

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
