"""FCOS: a dense detector without anchor shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_structures import Boxes, ImageList, Instances

from ..anchor_generator import DefaultAnchorGenerator
from ..backbone import Backbone
from ..batched_selection import Detections, counts_per_image, detections_of_images
from ..box_regression import Box2BoxTransformLinear, BoxTransform, dense_box_regression_loss
from ..dense_predictions import best_of_level, detections_of_levels, per_anchor
from ..focal_loss import dense_focal_loss
from ..initialization import normal_fill
from ..layers import cat
from .dense_detector import DenseDetector
from .image_input import BatchedInputs
from .retinanet_head import RetinaNetHead

FCOSPredictions = tuple[list[Tensor], list[Tensor], list[Tensor]]

# A level is responsible for boxes whose farthest side is this many strides away.
_SCALE_RANGE = (4.0, 8.0)


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

    def forward(self, features: Sequence[Tensor]) -> FCOSPredictions:  # type: ignore[override]  # one more output
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


class FCOS(DenseDetector):
    """A detector that regresses, from each pixel inside a box, the distances to its sides.

    Args:
        backbone: maps images to feature maps whose strides double.
        head: maps a list of feature maps to predictions, see `FCOSHead`.
        head_in_features: names of the feature maps for the head; None for all.
        anchor_generator: maps those feature maps to one anchor per pixel, whose width is the
            level's stride; None for anchors in the middle of their pixels.
        box2box_transform: encoding of boxes; None for a `Box2BoxTransformLinear` in units of
            strides.
        num_classes: number of classes K, background not counted.
        center_sampling_radius: pixels are foreground only within so many strides of the
            box's centre.
        focal_loss_alpha: weight of positives in the focal loss.
        focal_loss_gamma: its exponent.
        test_score_thresh: lowest score of a detection.
        test_topk_candidates: pairs of pixel and class decoded per level.
        test_nms_thresh: IoU threshold of the suppression within a class.
        max_detections_per_image: number of detections per image.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.

    Source: Tian et al., "FCOS", 2019, with the later centre sampling.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        anchor_generator: nn.Module | None = None,
        box2box_transform: BoxTransform | None = None,
        num_classes: int,
        center_sampling_radius: float = 1.5,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        test_score_thresh: float = 0.2,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(
            backbone=backbone,
            head=head,
            head_in_features=head_in_features,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            initial_normalizer=300,
        )
        shapes = backbone.output_shape()
        strides = [shapes[name].stride or 0 for name in self.head_in_features]
        # Each pixel is a box of its stride's size around its centre.
        self.anchor_generator = anchor_generator or DefaultAnchorGenerator(
            sizes=[[stride] for stride in strides], aspect_ratios=[1.0], strides=strides, offset=0.5
        )
        self.box2box_transform = box2box_transform or Box2BoxTransformLinear(True)
        self.num_classes = num_classes
        self.center_sampling_radius = center_sampling_radius
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image

    def forward_training(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        features: Sequence[Tensor],
        predictions: FCOSPredictions,
        gt_instances: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """See `DenseDetector.forward_training`."""
        logits, deltas, centreness = self._per_anchor(predictions)
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes, centreness)

    def _per_anchor(self, predictions: FCOSPredictions) -> FCOSPredictions:
        """The head's outputs as (N, R_l, K), (N, R_l, 4) and (N, R_l, 1) per level."""
        logits, deltas, centreness = predictions
        return (
            [per_anchor(level, self.num_classes) for level in logits],
            [per_anchor(level, 4) for level in deltas],
            [per_anchor(level, 1) for level in centreness],
        )

    @torch.no_grad()
    def label_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Give pixels the class and box of the smallest ground truth they are responsible for.

        Args:
            anchors: anchors of each level, R in all.
            gt_instances: for each image with ``gt_boxes`` and ``gt_classes``.

        Returns:
            For each image (R,) classes, K for background, and (R, 4) ground truth boxes,
            meaningful for foreground.
        """
        labels, boxes = [], []
        for gt in gt_instances:
            if len(gt) == 0:
                count = sum(len(level) for level in anchors)
                labels.append(gt.gt_classes.new_full((count,), self.num_classes))
                boxes.append(anchors[0].tensor.new_zeros(count, 4))
                continue
            responsible = self._responsible(gt.gt_boxes, anchors)
            areas = gt.gt_boxes.area()[:, None].expand_as(responsible)
            smallest, matched_idxs = areas.where(responsible, torch.inf).min(dim=0)
            image_labels = gt.gt_classes[matched_idxs]
            labels.append(image_labels.where(smallest.isfinite(), self.num_classes))
            boxes.append(gt.gt_boxes.tensor[matched_idxs])
        return labels, boxes

    def _responsible(self, gt_boxes: Boxes, anchors: Sequence[Boxes]) -> Tensor:
        """(M, R) bool: pixels near the centre, inside, and on the level of the box's scale."""
        centres = torch.cat([level.get_centers() for level in anchors])
        strides = torch.cat([level.tensor[:, 2] - level.tensor[:, 0] for level in anchors])
        lower, upper = strides * _SCALE_RANGE[0], strides * _SCALE_RANGE[1]
        lower[: len(anchors[0])] = 0.0
        upper[len(upper) - len(anchors[-1]) :] = torch.inf
        offsets = (centres[None] - gt_boxes.get_centers()[:, None]).abs().amax(dim=2)
        low, high = gt_boxes.tensor[:, None].split(2, dim=2)
        distances = torch.cat([centres[None] - low, high - centres[None]], dim=2)
        farthest = distances.amax(dim=2)
        return (
            (offsets < self.center_sampling_radius * strides)
            & (distances.amin(dim=2) > 0)
            & (farthest > lower)
            & (farthest < upper)
        )

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
        pred_centerness: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Focal loss of all pixels, GIoU and centreness losses of the foreground.

        Args:
            anchors: anchors of each level.
            pred_logits: (N, R_l, K) for each level.
            gt_labels: (R,) for each image, see `label_anchors`.
            pred_anchor_deltas: (N, R_l, 4) for each level.
            gt_boxes: (R, 4) for each image.
            pred_centerness: (N, R_l, 1) for each level.

        Returns:
            ``loss_fcos_cls``, ``loss_fcos_loc`` and ``loss_fcos_ctr``, over the running mean
            number of foreground pixels.
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
        loss_loc = dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            foreground,
            box_reg_loss_type="giou",
        )
        targets = self.compute_ctrness_targets(anchors, gt_boxes)
        centreness = cat(list(pred_centerness), dim=1).squeeze(2)
        loss_ctr = F.binary_cross_entropy_with_logits(
            centreness[foreground], targets[foreground].to(centreness.dtype), reduction="sum"
        )
        return {
            "loss_fcos_cls": loss_cls / normalizer,
            "loss_fcos_loc": loss_loc / normalizer,
            "loss_fcos_ctr": loss_ctr / normalizer,
        }

    @torch.no_grad()
    def compute_ctrness_targets(
        self, anchors: Sequence[Boxes], gt_boxes: Sequence[Tensor]
    ) -> Tensor:
        """How central each pixel is in its box: 1 in the middle, 0 at the border.

        Args:
            anchors: anchors of each level, R in all.
            gt_boxes: (R, 4) for each of N images.

        Returns:
            (N, R), meaningful where the pixel is inside its box.

        Source: Tian et al., "FCOS", 2019, equation 3.
        """
        centres = torch.cat([level.get_centers() for level in anchors])
        low, high = torch.stack(list(gt_boxes)).split(2, dim=2)
        before, after = centres - low, high - centres
        ratios = torch.minimum(before, after) / torch.maximum(before, after)
        return ratios.clamp(min=0).prod(dim=2).sqrt()

    @torch.no_grad()
    def forward_inference(
        self, images: ImageList, features: Sequence[Tensor], predictions: FCOSPredictions
    ) -> list[Instances]:
        """See `DenseDetector.forward_inference`.

        The score is the geometric mean of the class's and the centreness's probability.
        """
        found = self.predict_detections(features, predictions)
        counts = counts_per_image(found.batch_index, len(images.image_sizes))
        return detections_of_images(found, images.image_sizes, counts)

    def predict_detections(
        self, features: Sequence[Tensor], predictions: FCOSPredictions
    ) -> Detections:
        """See `DenseDetector.predict_detections`."""
        anchors = self.anchor_generator(features)
        levels = []
        for level, classes, deltas, central in zip(
            anchors, *self._per_anchor(predictions), strict=True
        ):
            best = best_of_level(
                level.tensor,
                (classes.sigmoid() * central.sigmoid()).sqrt(),
                deltas,
                box2box_transform=self.box2box_transform,
                topk=self.test_topk_candidates,
            )
            levels.append(best)
        return detections_of_levels(
            levels,
            num_classes=self.num_classes,
            score_thresh=self.test_score_thresh,
            nms_thresh=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
        )
