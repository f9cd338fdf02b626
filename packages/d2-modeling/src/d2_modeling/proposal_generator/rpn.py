"""The region proposal network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Boxes, ImageList, Instances

from ..anchor_generator import build_anchor_generator
from ..batched_selection import Regions, sizes_as_tensor
from ..box_regression import Box2BoxTransform, BoxTransform, dense_box_regression_loss
from ..dense.selection import per_anchor
from ..events import active_event_storage
from ..host_waits import asking_waits
from ..layers import ShapeSpec, cat
from ..layers.shape_spec import select_shapes
from ..losses import loss_weights, summed_where
from ..matcher import Matcher, match_boxes
from ..sampling import sampled_labels, subsample_labels, subsample_labels_of_images
from .build import PROPOSAL_GENERATOR_REGISTRY, build_rpn_head
from .proposal_utils import filter_proposals, proposals_of_images, top_anchors


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Finds boxes that may hold an object, whatever its class.

    Args:
        in_features: names of the feature maps to use.
        head: maps their list to logits and deltas, see `StandardRPNHead`.
        anchor_generator: maps their list to anchors.
        anchor_matcher: labels anchors by their overlap with ground truth.
        box2box_transform: encoding of boxes relative to anchors.
        batch_size_per_image: anchors sampled for the loss.
        positive_fraction: at most this share of them is foreground.
        pre_nms_topk: boxes kept per level before suppression, in training and in testing.
        post_nms_topk: boxes kept per image after suppression, likewise.
        nms_thresh: IoU threshold of the suppression.
        min_box_size: shorter boxes are dropped, in pixels of the network's input.
        anchor_boundary_thresh: if not negative, anchors that leave the image by more
            pixels than this take no part in training.
        loss_weight: factor on both losses, or a dict by loss name.
        box_reg_loss_type: ``"smooth_l1"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        smooth_l1_beta: where smooth L1 turns linear; 0 for L1.

    Source: Ren et al., "Faster R-CNN", 2015.
    """

    _transform_class: type = Box2BoxTransform

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | Mapping[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = list(in_features)
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = {True: pre_nms_topk[0], False: pre_nms_topk[1]}
        self.post_nms_topk = {True: post_nms_topk[0], False: post_nms_topk[1]}
        self.nms_thresh = nms_thresh
        self.min_box_size = min_box_size
        self.anchor_boundary_thresh = anchor_boundary_thresh
        self.loss_weight = loss_weights(loss_weight, ("loss_rpn_cls", "loss_rpn_loc"))
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Find proposals and, in training, the losses.

        Args:
            images: the N input images; only their sizes are used.
            features: feature maps by name.
            gt_instances: for each image instances with ``gt_boxes``; needed in training.

        Returns:
            For each image ``proposal_boxes`` and ``objectness_logits``, and in training
            ``loss_rpn_cls`` and ``loss_rpn_loc``.

        Raises:
            ValueError: in training without ground truth.
            FloatingPointError: in training, if predictions are not finite.
        """
        anchors, logits, deltas = self._predictions(features)
        losses: dict[str, Tensor] = {}
        if self.training:
            if gt_instances is None:
                raise ValueError("the RPN wants gt_instances while training, got None")
            labels, boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, labels, deltas, boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label anchors as foreground, background or ignored, and draw a sample.

        Args:
            anchors: anchors of each level, R in all.
            gt_instances: for each image instances with ``gt_boxes``.

        Returns:
            For each image (R,) int8 labels: 1 foreground, 0 background, -1 not used; and
            (R, B) ground truth boxes, meaningful where the label is 1.
        """
        all_anchors = type(anchors[0]).cat(list(anchors))
        labels, matched_boxes = [], []
        for gt in gt_instances:
            gt_boxes: Boxes = gt.gt_boxes
            matched_idxs, image_labels = match_boxes(self.anchor_matcher, gt_boxes, all_anchors)
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(gt.image_size, int(self.anchor_boundary_thresh))
                image_labels.masked_fill_(~inside, -1)
            labels.append(image_labels)
            if len(gt_boxes) == 0:
                matched_boxes.append(torch.zeros_like(all_anchors.tensor))
            else:
                matched_boxes.append(gt_boxes.tensor[matched_idxs])
        return self._subsample_images(labels), matched_boxes

    def _subsample_images(self, labels: list[Tensor]) -> list[Tensor]:
        """`_subsample_labels` of each image, without a wait for the device."""
        if getattr(self._subsample_labels, "__func__", None) is not RPN._subsample_labels:
            return [self._subsample_labels(image) for image in labels]  # a subclass draws itself
        if labels and asking_waits(labels[0]):
            settings = self.batch_size_per_image, self.positive_fraction, 0
            return list(sampled_labels(torch.stack(labels), *settings))
        drawn = subsample_labels_of_images(
            labels, self.batch_size_per_image, self.positive_fraction, 0
        )
        return [_keep_sample(image, *rows) for image, rows in zip(labels, drawn, strict=True)]

    def _subsample_labels(self, labels: Tensor) -> Tensor:
        """Keep a random sample of (R,) labels in place, the others become -1."""
        drawn = subsample_labels(labels, self.batch_size_per_image, self.positive_fraction, 0)
        return _keep_sample(labels, *drawn)

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Classification and regression loss over the sampled anchors.

        Args:
            anchors: anchors of each level.
            pred_objectness_logits: (N, R_l) for each level.
            gt_labels: (R,) for each image, see `label_and_sample_anchors`.
            pred_anchor_deltas: (N, R_l, B) for each level.
            gt_boxes: (R, B) for each image.

        Returns:
            ``loss_rpn_cls`` and ``loss_rpn_loc``, both divided by the wanted sample size.
        """
        labels = torch.stack(list(gt_labels))
        foreground = labels == 1
        _report_sample(labels)
        loss_loc = dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            foreground,
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        logits = cat(list(pred_objectness_logits), dim=1)
        loss_cls = summed_where(
            labels >= 0, F.binary_cross_entropy_with_logits, logits, labels.to(logits.dtype)
        )
        normalizer = self.batch_size_per_image * len(labels)
        losses = {"loss_rpn_cls": loss_cls, "loss_rpn_loc": loss_loc}
        return {
            name: loss * (self.loss_weight.get(name, 1.0) / normalizer)
            for name, loss in losses.items()
        }

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Decode and select proposals, see `find_top_rpn_proposals`.

        Gradients do not pass: proposals are fixed inputs of what follows.
        Only the anchors that survive the choice by score are decoded.
        """
        sizes = sizes_as_tensor(image_sizes, anchors[0].tensor)
        regions = self._select(anchors, pred_objectness_logits, pred_anchor_deltas, sizes)
        return proposals_of_images(regions, image_sizes)

    @torch.no_grad()
    def propose(self, features: Mapping[str, Tensor], image_sizes: Tensor) -> Regions:
        """`forward` in evaluation, as a function of tensors.

        Args:
            features: feature maps by name.
            image_sizes: (N, 2), height and width of each image.
        """
        anchors, logits, deltas = self._predictions(features)
        return self._select(anchors, logits, deltas, image_sizes)

    def _predictions(
        self, features: Mapping[str, Tensor]
    ) -> tuple[list[Boxes], list[Tensor], list[Tensor]]:
        """Anchors, (N, R_l) logits and (N, R_l, B) deltas of each level."""
        maps = [features[name] for name in self.in_features]
        anchors: list[Boxes] = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        box_dim = anchors[0].tensor.shape[1]
        return (
            anchors,
            [level.permute(0, 2, 3, 1).flatten(1) for level in logits],
            [per_anchor(level, box_dim) for level in deltas],
        )

    def _select(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        image_sizes: Tensor,
    ) -> Regions:
        boxes, scores = [], []
        for level, logits, deltas in zip(
            anchors, pred_objectness_logits, pred_anchor_deltas, strict=True
        ):
            top, idx = top_anchors(logits, self.pre_nms_topk[self.training])
            box_dim = deltas.shape[2]
            chosen = deltas.gather(1, idx[..., None].expand(-1, -1, box_dim))
            decoded = self.box2box_transform.apply_deltas(
                chosen.flatten(0, 1), level.tensor[idx.flatten()]
            )
            boxes.append(decoded.view(*idx.shape, box_dim))
            scores.append(top)
        return filter_proposals(
            boxes,
            scores,
            image_sizes,
            nms_thresh=self.nms_thresh,
            post_nms_topk=self.post_nms_topk[self.training],
            min_box_size=self.min_box_size,
            training=self.training,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        rpn = cfg.MODEL.RPN
        shapes = select_shapes(input_shape, rpn.IN_FEATURES, "MODEL.RPN.IN_FEATURES")
        return {
            "in_features": rpn.IN_FEATURES,
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(
                rpn.IOU_THRESHOLDS, rpn.IOU_LABELS, allow_low_quality_matches=True
            ),
            "box2box_transform": cls._transform_class(rpn.BBOX_REG_WEIGHTS),
            "batch_size_per_image": rpn.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": rpn.POSITIVE_FRACTION,
            "pre_nms_topk": (rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST),
            "nms_thresh": rpn.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": rpn.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": rpn.LOSS_WEIGHT,
                "loss_rpn_loc": rpn.BBOX_REG_LOSS_WEIGHT * rpn.LOSS_WEIGHT,
            },
            "box_reg_loss_type": rpn.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": rpn.SMOOTH_L1_BETA,
        }


def _keep_sample(labels: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Set (R,) labels in place: 1 and 0 at the drawn rows, -1 elsewhere."""
    labels.fill_(-1)
    labels.index_fill_(0, positive, 1)
    return labels.index_fill_(0, negative, 0)


def _report_sample(labels: Tensor) -> None:
    storage = active_event_storage()
    if storage is not None:
        storage.put_scalar("rpn/num_pos_anchors", (labels == 1).sum() / len(labels))
        storage.put_scalar("rpn/num_neg_anchors", (labels == 0).sum() / len(labels))
