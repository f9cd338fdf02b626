"""Classification and box regression of regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Instances

from ..batched_selection import Detections, Regions
from ..box_regression import Box2BoxTransform, BoxTransform, box_regression_loss
from ..events import active_event_storage
from ..host_waits import asking_waits
from ..initialization import normal_fill
from ..layers import ShapeSpec, cat
from ..losses import loss_weights, summed_where
from .fast_rcnn_inference import fast_rcnn_inference, select_detections

Predictions = tuple[Tensor, Tensor]

LEFT_OUT = -100
"""The class of regions that are there for their number alone, where counts stay on a device."""

_LOSSES = ("loss_cls", "loss_box_reg")


class FastRCNNOutputLayers(nn.Module):
    """One linear layer for class scores and one for box deltas, with losses and inference.

    Args:
        input_shape: channels (and height and width, if not 1) of the region features.
        box2box_transform: encoding of boxes relative to proposals.
        num_classes: number of classes K, background not counted.
        test_score_thresh: lowest score of a detection.
        test_nms_thresh: IoU threshold of the suppression within a class.
        test_topk_per_image: number of detections per image.
        cls_agnostic_bbox_reg: predict one box for all classes instead of one for each.
        smooth_l1_beta: where smooth L1 turns linear; 0 for L1.
        box_reg_loss_type: ``"smooth_l1"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        loss_weight: factor on both losses, or a dict by ``"loss_cls"``, ``"loss_box_reg"``.
        use_fed_loss: sum the classification loss over a sample of classes only; needs
            ``use_sigmoid_ce``.
        use_sigmoid_ce: independent binary classifiers instead of a softmax.
        get_fed_loss_cls_weights: returns (K,) sampling weights; needed by ``use_fed_loss``.
        fed_loss_num_classes: number of classes in that sample.

    Raises:
        ValueError: if options do not fit together.

    Source: Girshick, "Fast R-CNN", 2015; Zhou et al., "Probabilistic two-stage detection",
    2021, for the federated loss.
    """

    _transform_class: type = Box2BoxTransform

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: float | Mapping[str, float] = 1.0,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Callable[[], Tensor] | None = None,
        fed_loss_num_classes: int = 50,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_agnostic_bbox_reg = cls_agnostic_bbox_reg
        self.box_dim = box_dim = len(getattr(box2box_transform, "weights", (1, 1, 1, 1)))
        features = (
            (input_shape.channels or 0) * (input_shape.height or 1) * (input_shape.width or 1)
        )
        self.cls_score = nn.Linear(features, num_classes + 1)
        self.bbox_pred = nn.Linear(
            features, box_dim if cls_agnostic_bbox_reg else num_classes * box_dim
        )
        normal_fill(self.cls_score, std=0.01)
        normal_fill(self.bbox_pred, std=0.001)
        self.box2box_transform = box2box_transform
        self.smooth_l1_beta = smooth_l1_beta
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.box_reg_loss_type = box_reg_loss_type
        self.loss_weight = loss_weights(loss_weight, _LOSSES)
        self.use_sigmoid_ce = use_sigmoid_ce
        self.use_fed_loss = use_fed_loss
        self.fed_loss_num_classes = fed_loss_num_classes
        if use_fed_loss:
            if not use_sigmoid_ce or get_fed_loss_cls_weights is None:
                raise ValueError(
                    "use_fed_loss needs use_sigmoid_ce=True and get_fed_loss_cls_weights; a model "
                    "built from a config gets these within federated_class_weights()"
                )
            self.register_buffer("fed_loss_cls_weights", get_fed_loss_cls_weights())

    def forward(self, x: Tensor) -> Predictions:
        """Predict from region features.

        Args:
            x: (N, C) or (N, C, H, W).

        Returns:
            (N, K + 1) scores, background last, and (N, K * B) deltas, (N, B) if class
            agnostic.
        """
        flat = torch.flatten(x, start_dim=1) if x.dim() > 2 else x
        return self.cls_score(flat), self.bbox_pred(flat)

    def losses(self, predictions: Predictions, proposals: Sequence[Instances]) -> dict[str, Tensor]:
        """Losses of predictions for labelled proposals.

        Args:
            predictions: what `forward` returned for the proposals of all images.
            proposals: for each image instances with ``proposal_boxes``, ``gt_classes``
                and, where there is ground truth, ``gt_boxes``.

        Returns:
            ``loss_cls`` and ``loss_box_reg``, weighted; zeros that can be backpropagated for
            no images.
        """
        scores, deltas = predictions
        if not proposals:
            return {name: part.sum() * 0.0 for name, part in zip(_LOSSES, predictions, strict=True)}
        gt_classes = cat([p.gt_classes for p in proposals])
        report_classification(scores, gt_classes)
        proposal_boxes = cat([p.proposal_boxes.tensor for p in proposals])
        # Images without ground truth have only background, whose boxes are not regressed.
        gt_boxes = cat(
            [(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes).tensor for p in proposals]
        )
        if self.use_sigmoid_ce:
            loss_cls = self.sigmoid_cross_entropy_loss(scores, gt_classes)
        else:
            total = F.cross_entropy(scores, gt_classes, reduction="sum", ignore_index=LEFT_OUT)
            loss_cls = total / _number_of(gt_classes)
        loss_box_reg = self.box_reg_loss(proposal_boxes, gt_boxes, deltas, gt_classes)
        losses = zip(_LOSSES, (loss_cls, loss_box_reg), strict=True)
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses}

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """Regression loss of the foreground regions over the number of all regions.

        Args:
            proposal_boxes: (R, B).
            gt_boxes: (R, B).
            pred_deltas: (R, B) or (R, K * B).
            gt_classes: (R,) int64, K for background.
        """
        box_dim = proposal_boxes.shape[1]
        foreground = (gt_classes >= 0) & (gt_classes < self.num_classes)
        if pred_deltas.shape[1] != box_dim:
            classes = gt_classes.where(foreground, 0)
            by_class = pred_deltas.unflatten(1, (self.num_classes, box_dim))
            pred_deltas = by_class[torch.arange(len(classes), device=classes.device), classes]
        loss = partial(
            box_regression_loss,
            box2box_transform=self.box2box_transform,
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        total = summed_where(foreground, loss, proposal_boxes, pred_deltas, gt_boxes)
        # All regions count, not only foreground: in that way each foreground region has
        # the same weight in every batch.
        return total / _number_of(gt_classes)

    def sigmoid_cross_entropy_loss(self, scores: Tensor, gt_classes: Tensor) -> Tensor:
        """Binary cross entropy of every class, over the number of regions.

        With ``use_fed_loss`` only a sample of classes counts, always including those that
        are present.

        Args:
            scores: (R, K + 1) logits; the last column is not used.
            gt_classes: (R,) int64, K for background.
        """
        if gt_classes.numel() == 0:
            return scores.sum() * 0.0
        # In the scores' own type, and not as the int64 of F.one_hot.
        target = torch.zeros_like(scores).scatter_(1, gt_classes[:, None], 1.0)[:, :-1]
        loss = F.binary_cross_entropy_with_logits(scores[:, :-1], target, reduction="none")
        if self.use_fed_loss:
            loss = loss * self._federated_classes(gt_classes).to(loss.dtype)
        return loss.sum() / len(gt_classes)

    def _federated_classes(self, gt_classes: Tensor) -> Tensor:
        """(K,) bool: the classes present, filled up to the wanted number at random."""
        chosen = torch.zeros(self.num_classes + 1, dtype=torch.bool, device=gt_classes.device)
        chosen.index_fill_(0, gt_classes, True)
        # Background counts as a class of the sample where there is any, as in the original.
        weights = F.pad(self.get_buffer("fed_loss_cls_weights").float(), (0, 1))
        weights = weights.masked_fill(chosen, 0)
        if asking_waits(weights):
            # What torch.multinomial does, for a number that the host does not know.
            keys = (weights / torch.empty_like(weights).exponential_()).sort(descending=True)
            ranks = torch.arange(len(weights), device=weights.device)
            drawn = (ranks < self.fed_loss_num_classes - chosen.sum()) & (keys.values > 0)
            return chosen.index_put((keys.indices,), drawn | chosen[keys.indices])[:-1]
        lacking = self.fed_loss_num_classes - int(chosen.sum())
        if lacking > 0:
            lacking = min(lacking, int((weights > 0).sum()))
            if lacking > 0:
                chosen[torch.multinomial(weights, lacking, replacement=False)] = True
        return chosen[:-1]

    def inference(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections from predictions, see `fast_rcnn_inference`."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [p.image_size for p in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
            self.box_dim,
        )

    def detect(self, predictions: Predictions, regions: Regions, image_sizes: Tensor) -> Detections:
        """`inference` as a function of tensors.

        Args:
            predictions: what `forward` returned for the regions.
            regions: the regions of all images.
            image_sizes: (N, 2), height and width of each image.
        """
        boxes = self.box2box_transform.apply_deltas(predictions[1], regions.boxes)
        return self.select(boxes, self.probabilities(predictions), regions, image_sizes)

    def select(
        self, boxes: Tensor, probs: Tensor, regions: Regions, image_sizes: Tensor
    ) -> Detections:
        """Detections from (R, K * B) or (R, B) boxes and (R, K + 1) probabilities."""
        return select_detections(
            boxes,
            probs,
            regions.batch_index,
            image_sizes,
            score_thresh=self.test_score_thresh,
            nms_thresh=self.test_nms_thresh,
            limit=self.test_topk_per_image,
            box_dim=self.box_dim,
        )

    def probabilities(self, predictions: Predictions) -> Tensor:
        """(R, K + 1) class probabilities of all regions."""
        scores = predictions[0]
        return scores.sigmoid() if self.use_sigmoid_ce else F.softmax(scores, dim=-1)

    def predict_boxes(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[Tensor, ...]:
        """Decode the boxes of every class.

        Returns:
            For each image (R_i, K * B), or (R_i, B) if class agnostic.
        """
        if not proposals:
            return ()
        boxes = cat([p.proposal_boxes.tensor for p in proposals])
        decoded = self.box2box_transform.apply_deltas(predictions[1], boxes)
        return decoded.split([len(p) for p in proposals])

    def predict_boxes_for_gt_classes(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[Tensor, ...]:
        """Decode the box of each proposal's own class (some class for background).

        Args:
            predictions: what `forward` returned.
            proposals: for each image with ``proposal_boxes`` and ``gt_classes``.

        Returns:
            For each image (R_i, B).
        """
        if not proposals:
            return ()
        boxes = cat([p.proposal_boxes.tensor for p in proposals])
        decoded = self.box2box_transform.apply_deltas(predictions[1], boxes)
        if decoded.shape[1] > boxes.shape[1]:
            classes = torch.cat([p.gt_classes for p in proposals]).clamp(0, self.num_classes - 1)
            by_class = decoded.unflatten(1, (self.num_classes, boxes.shape[1]))
            decoded = by_class[torch.arange(len(boxes), device=boxes.device), classes]
        return decoded.split([len(p) for p in proposals])

    def predict_probs(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[Tensor, ...]:
        """For each image the (R_i, K + 1) class probabilities."""
        return self.probabilities(predictions).split([len(p) for p in proposals])

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shape of the region features.

        The class weights of a federated loss (``USE_FED_LOSS``) are a matter of the data: see
        `federated_class_weights`.
        """
        options = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "box2box_transform": cls._transform_class(options.BBOX_REG_WEIGHTS),
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "cls_agnostic_bbox_reg": options.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": options.SMOOTH_L1_BETA,
            "box_reg_loss_type": options.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_cls": 1.0, "loss_box_reg": options.BBOX_REG_LOSS_WEIGHT},
            "use_fed_loss": options.USE_FED_LOSS,
            "use_sigmoid_ce": options.USE_SIGMOID_CE,
            "get_fed_loss_cls_weights": _federated_class_weights.get(),
            "fed_loss_num_classes": options.FED_LOSS_NUM_CLASSES,
        }


def _number_of(gt_classes: Tensor) -> Tensor | float:
    """How many regions there are, at least 1; those of `LEFT_OUT` are none."""
    if asking_waits(gt_classes):
        return (gt_classes != LEFT_OUT).sum().clamp(min=1)
    return max(gt_classes.numel(), 1.0)


_federated_class_weights: ContextVar[Callable[[], Tensor] | None] = ContextVar(
    "federated_class_weights", default=None
)


@contextmanager
def federated_class_weights(get: Callable[[], Tensor]) -> Iterator[None]:
    """Give models that are built from configs in the block the class weights of their data.

    Args:
        get: returns (K,) sampling weights; called where ``USE_FED_LOSS`` is on.
    """
    token = _federated_class_weights.set(get)
    try:
        yield
    finally:
        _federated_class_weights.reset(token)


@torch.no_grad()
def report_classification(scores: Tensor, gt_classes: Tensor, prefix: str = "fast_rcnn") -> None:
    """Put the accuracy over all and over foreground regions into the event storage.

    Args:
        scores: (R, K + 1) logits, background last.
        gt_classes: (R,) int64, K for background.
        prefix: put before the scalars' names.
    """
    storage = active_event_storage()
    if storage is None or gt_classes.numel() == 0:
        return
    background = scores.shape[1] - 1
    predicted = scores.argmax(dim=1)
    correct = predicted == gt_classes
    foreground = (gt_classes >= 0) & (gt_classes < background)
    num_foreground = foreground.sum()
    storage.put_scalar(f"{prefix}/cls_accuracy", correct.float().mean())
    if scores.device.type == "cpu" and num_foreground == 0:
        return
    at_least_one = num_foreground.clamp(min=1)
    storage.put_scalar(f"{prefix}/fg_cls_accuracy", (correct & foreground).sum() / at_least_one)
    missed = foreground & (predicted == background)
    storage.put_scalar(f"{prefix}/false_negative", missed.sum() / at_least_one)
