"""ROI heads that refine boxes in several stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Boxes, Instances

from ..batched_selection import (
    Detections,
    Regions,
    clipped_to_images,
    nonempty,
    rows_where,
    sizes_as_tensor,
)
from ..box_regression import Box2BoxTransform
from ..events import active_event_storage
from ..host_waits import asking_waits
from ..layers import ShapeSpec
from ..matcher import Matcher, classes_of_matches, match_boxes
from ..poolers import ROIPooler
from .build import ROI_HEADS_REGISTRY, build_box_head
from .fast_rcnn import LEFT_OUT, FastRCNNOutputLayers, Predictions
from .fast_rcnn_inference import fast_rcnn_inference
from .region_head import Losses, RegionOutput, as_losses
from .region_pooling import build_region_pooler
from .roi_heads import report_sample
from .standard_roi_heads import StandardROIHeads

StageOutput = tuple[Any, Predictions, list[Instances]]
"""Predictor, predictions and proposals of a stage."""


@ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(StandardROIHeads):
    """Box heads in a row: each regresses the boxes of the one before, and is more demanding.

    Args:
        box_in_features: names of the feature maps for the box heads.
        box_pooler: extracts the region features of every stage.
        box_heads: network of each stage on them.
        box_predictors: predictions of each stage; their box regression has to be class
            agnostic.
        proposal_matchers: for each stage, labels its boxes by their overlap with ground
            truth.
        **kwargs: arguments of `StandardROIHeads`, except for its box head's and matcher.

    Raises:
        ValueError: if there are not as many heads, predictors and matchers, or an argument
            makes no sense here.

    Source: Cai & Vasconcelos, "Cascade R-CNN", 2018.
    """

    @configurable
    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: ROIPooler,
        box_heads: Sequence[nn.Module],
        box_predictors: Sequence[nn.Module],
        proposal_matchers: Sequence[Matcher],
        **kwargs: Any,
    ) -> None:
        counts = (len(box_heads), len(box_predictors), len(proposal_matchers))
        if len(set(counts)) != 1 or counts[0] == 0:
            raise ValueError(
                "a cascade wants as many box_heads as box_predictors and proposal_matchers, "
                f"at least one; got {counts}"
            )
        if not all(getattr(p, "cls_agnostic_bbox_reg", True) for p in box_predictors):
            raise ValueError(
                "a cascade needs box_predictors with cls_agnostic_bbox_reg=True "
                "(MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG), as the next stage starts from one box"
            )
        if "proposal_matcher" in kwargs:
            raise ValueError("a cascade takes proposal_matchers instead of proposal_matcher")
        if kwargs.get("train_on_pred_boxes", False):
            raise ValueError("train_on_pred_boxes is not for cascades; leave it False")
        super().__init__(
            box_in_features=box_in_features,
            box_pooler=box_pooler,
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            proposal_matcher=proposal_matchers[0],
            **kwargs,
        )
        self.proposal_matchers = list(proposal_matchers)
        self.num_cascade_stages = len(box_heads)

    def _box_losses(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances],
    ) -> Losses:
        return as_losses(self._forward_box(features, proposals, targets), "_forward_box()")

    def _forward_box(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> RegionOutput:
        """In training the losses of every stage, named ``…_stage0`` and so on.

        Otherwise the boxes of the last stage with the mean scores of all stages.
        """
        maps = [features[name] for name in self.box_in_features]
        outputs: list[StageOutput] = []
        boxes: Sequence[Tensor] = ()
        left_out: list[Tensor] | None = None
        for stage, predictor in enumerate(self.box_predictor):
            if stage > 0:
                sizes = [image.image_size for image in proposals]
                if self._marks_empty_boxes(boxes):
                    proposals, left_out = _proposals_with_marks(boxes, sizes, left_out)
                else:
                    proposals = self._create_proposals_from_boxes(boxes, sizes)
                if self.training:
                    assert targets is not None
                    with _event_scope(f"stage{stage}"):
                        proposals = self._match_and_label_boxes(proposals, stage, targets)
                    for image, rows in zip(proposals, left_out or (), strict=False):
                        image.gt_classes = image.gt_classes.masked_fill(rows, LEFT_OUT)
            predictions = self._run_stage(maps, proposals, stage)
            boxes = predictor.predict_boxes(predictions, proposals)
            outputs.append((predictor, predictions, proposals))
        if self.training:
            return self._stage_losses(outputs)
        return self._mean_detections(outputs, boxes)

    def _detect(
        self, features: Mapping[str, Tensor], regions: Regions, image_sizes: Tensor
    ) -> Detections:
        maps = [features[name] for name in self.box_in_features]
        scores, boxes = [], regions.boxes
        for stage, (head, predictor) in enumerate(
            zip(self.box_head, self.box_predictor, strict=True)
        ):
            if stage > 0:
                sizes = image_sizes[regions.batch_index]
                regions = regions._replace(boxes=clipped_to_images(boxes, sizes))
            predictions = predictor(head(self.box_pooler.pool(maps, regions.rois())))
            boxes = predictor.box2box_transform.apply_deltas(predictions[1], regions.boxes)
            scores.append(predictor.probabilities(predictions))
        mean = torch.stack(scores).mean(dim=0)
        found: Detections = predictor.select(boxes, mean, regions, image_sizes)
        return found

    def _stage_losses(self, outputs: Sequence[StageOutput]) -> Losses:
        losses: Losses = {}
        for stage, (predictor, predictions, proposals) in enumerate(outputs):
            with _event_scope(f"stage{stage}"):
                stage_losses = predictor.losses(predictions, proposals)
            losses |= {f"{name}_stage{stage}": loss for name, loss in stage_losses.items()}
        return losses

    def _mean_detections(
        self, outputs: Sequence[StageOutput], boxes: Sequence[Tensor]
    ) -> list[Instances]:
        scores = [
            predictor.predict_probs(predictions, proposals)
            for predictor, predictions, proposals in outputs
        ]
        last, _, proposals = outputs[-1]
        detections, _ = fast_rcnn_inference(
            boxes,
            [torch.stack(image_scores).mean(dim=0) for image_scores in zip(*scores, strict=True)],
            [image.image_size for image in proposals],
            last.test_score_thresh,
            last.test_nms_thresh,
            last.test_topk_per_image,
        )
        return detections

    def _run_stage(
        self, features: Sequence[Tensor], proposals: Sequence[Instances], stage: int
    ) -> Predictions:
        """The predictions of one stage from the maps ``box_in_features``."""
        pooled = self.box_pooler(list(features), [image.proposal_boxes for image in proposals])
        # Every stage trains its own head in full, but the features get the mean of what the
        # stages want of them.
        # In inference there is no gradient, and a traced model can hold no function of ours.
        scaled = pooled
        if self.training:
            scaled = ScaledGradient.apply(pooled, 1.0 / self.num_cascade_stages)
        predictions: Predictions = self.box_predictor[stage](self.box_head[stage](scaled))
        return predictions

    def _marks_empty_boxes(self, boxes: Sequence[Tensor]) -> bool:
        """Whether empty boxes stay in training, as to leave them out the host would wait.

        Losses have to know what `LEFT_OUT` means.
        """
        if not (self.training and boxes and asking_waits(boxes[0])):
            return False
        create = getattr(self._create_proposals_from_boxes, "__func__", None)
        return create is CascadeROIHeads._create_proposals_from_boxes and all(
            type(predictor).losses is FastRCNNOutputLayers.losses and not predictor.use_sigmoid_ce
            for predictor in self.box_predictor
        )

    def _create_proposals_from_boxes(
        self, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """The boxes of the stage before as fixed proposals; in training the empty ones go."""
        proposals = []
        for image_boxes, size in zip(boxes, image_sizes, strict=True):
            sizes = sizes_as_tensor([size], image_boxes)
            # Boxes that are not finite have no area, and in inference are no detections.
            clipped = clipped_to_images(image_boxes.detach(), sizes)
            proposals.append(Instances(size, proposal_boxes=Boxes(clipped)))
        if not self.training:
            return proposals
        rows = rows_where([image.proposal_boxes.nonempty() for image in proposals])
        return [image[kept] for image, kept in zip(proposals, rows, strict=True)]

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: Sequence[Instances]
    ) -> list[Instances]:
        """Give proposals the ground truth that a stage wants of them; none is drawn."""
        for image, gt in zip(proposals, targets, strict=True):
            matched_idxs, matched_labels = match_boxes(
                self.proposal_matchers[stage], gt.gt_boxes, image.proposal_boxes
            )
            image.gt_classes = classes_of_matches(
                matched_idxs, matched_labels, gt.gt_classes, self.num_classes
            )
            if len(gt) > 0:
                image.gt_boxes = gt.gt_boxes[matched_idxs]
        report_sample(proposals, self.num_classes)
        return proposals

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None
    ) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        arguments = super().from_config(cfg, input_shape)
        del arguments["proposal_matcher"]
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        options = cfg.MODEL.ROI_BOX_CASCADE_HEAD
        _check_config(cfg)
        pooler, pooled_shape = build_region_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        heads = [build_box_head(cfg, pooled_shape) for _ in options.IOUS]
        predictors = [
            FastRCNNOutputLayers(
                cfg, head.output_shape, box2box_transform=Box2BoxTransform(weights)
            )
            for head, weights in zip(heads, options.BBOX_REG_WEIGHTS, strict=True)
        ]
        return {
            "box_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "box_pooler": pooler,
            "box_heads": heads,
            "box_predictors": predictors,
            "proposal_matchers": [Matcher([iou], [0, 1]) for iou in options.IOUS],
        }


def _proposals_with_marks(
    boxes: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    left_out: Sequence[Tensor] | None,
) -> tuple[list[Instances], list[Tensor]]:
    """What `CascadeROIHeads._create_proposals_from_boxes` gives, and with it what it leaves out.

    Args:
        boxes: those of the stage before, for each image.
        image_sizes: (height, width) of each image.
        left_out: for each image (R_i,) bool, what was left out before; None for nothing.

    Returns:
        For each image all boxes, whole images in the place of those left out, and (R_i,) bool.
    """
    proposals, marks = [], []
    for place, (image_boxes, size) in enumerate(zip(boxes, image_sizes, strict=True)):
        sizes = sizes_as_tensor([size], image_boxes)
        clipped = clipped_to_images(image_boxes.detach(), sizes)
        gone = ~nonempty(clipped)
        if left_out is not None:
            gone = gone | left_out[place]
        whole = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], dim=1)
        proposals.append(
            Instances(size, proposal_boxes=Boxes(clipped.where(~gone[:, None], whole)))
        )
        marks.append(gone)
    return proposals, marks


class ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * ctx.scale, None


def _event_scope(name: str) -> AbstractContextManager[Any]:
    storage = active_event_storage()
    return nullcontext() if storage is None else storage.name_scope(name)


def _check_config(cfg: CfgNode) -> None:
    """Refuse keys that contradict each other; arguments are checked by the constructor."""
    ious = cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS
    weights = cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS
    if len(weights) != len(ious):
        raise ValueError(
            f"MODEL.ROI_BOX_CASCADE_HEAD has {len(weights)} BBOX_REG_WEIGHTS for {len(ious)} IOUS"
        )
    thresholds = cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS
    if ious[0] != thresholds[0]:
        raise ValueError(
            f"the first of MODEL.ROI_BOX_CASCADE_HEAD.IOUS {list(ious)} has to be that of "
            f"MODEL.ROI_HEADS.IOU_THRESHOLDS {list(thresholds)}"
        )
