"""Everything that happens to a region: sampling, pooling, and the heads."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import ImageList, Instances

from ..batched_selection import Detections, Regions
from ..events import active_event_storage
from ..gt_classes import check_gt_classes
from ..layers import ShapeSpec
from ..matcher import Matcher, classes_of_matches, match_boxes
from ..poolers import ROIPooler
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels
from .build import ROI_HEADS_REGISTRY, build_box_head, build_keypoint_head, build_mask_head
from .fast_rcnn import FastRCNNOutputLayers
from .region_pooling import build_optional_region_pooler, build_region_pooler
from .region_selection import (
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)


class HeadOutputs(NamedTuple):
    """What ROI heads predict for the regions of all images."""

    detections: Detections
    mask_probabilities: Tensor | None  # (D, 1, S, S)
    keypoints: Tensor | None  # (D, K, 3) of x, y and score


class ROIHeads(nn.Module, metaclass=ABCMeta):
    """Base class: matches proposals with ground truth and samples them for training.

    Args:
        num_classes: number of classes, background not counted.
        batch_size_per_image: proposals sampled per image.
        positive_fraction: at most this share of them is foreground.
        proposal_matcher: labels proposals by their overlap with ground truth.
        proposal_append_gt: whether ground truth boxes are proposals too.
    """

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: Sequence[Instances], targets: Sequence[Instances]
    ) -> list[Instances]:
        """Give proposals the ground truth they overlap most, and draw a sample.

        Args:
            proposals: for each image with ``proposal_boxes`` and ``objectness_logits``.
            targets: for each image with ``gt_boxes``, ``gt_classes`` and maybe further
                fields that begin with ``gt_``.

        Returns:
            For each image at most ``batch_size_per_image`` proposals with ``gt_classes``
            (``num_classes`` for background) and, if the image has ground truth, the
            other ``gt_`` fields of the match; those mean nothing for background.

        Raises:
            ValueError: if a class on the host is not in 0 … ``num_classes`` − 1.
        """
        check_gt_classes(targets, self.num_classes)
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled = [
            self._label_and_sample_image(*pair) for pair in zip(proposals, targets, strict=True)
        ]
        report_sample(sampled, self.num_classes)
        return sampled

    def _label_and_sample_image(self, proposals: Instances, targets: Instances) -> Instances:
        matched_idxs, matched_labels = match_boxes(
            self.proposal_matcher, targets.gt_boxes, proposals.proposal_boxes
        )
        sampled_idxs, gt_classes = self._sample_proposals(
            matched_idxs, matched_labels, targets.gt_classes
        )
        proposals = proposals[sampled_idxs]
        proposals.gt_classes = gt_classes
        if len(targets) > 0:
            sampled_targets = matched_idxs[sampled_idxs]
            for name, value in targets.get_fields().items():
                if name.startswith("gt_") and not proposals.has(name):
                    proposals.set(name, value[sampled_targets])
        return proposals

    def _sample_proposals(
        self, matched_idxs: Tensor, matched_labels: Tensor, gt_classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw proposals of one image.

        Args:
            matched_idxs: (N,) index of each proposal's ground truth.
            matched_labels: (N,) label of the match: 1, 0 or -1.
            gt_classes: (M,) class of each ground truth.

        Returns:
            (S,) drawn indices, foreground first, and (S,) their classes.
        """
        classes = classes_of_matches(matched_idxs, matched_labels, gt_classes, self.num_classes)
        foreground, background = subsample_labels(
            classes, self.batch_size_per_image, self.positive_fraction, self.num_classes
        )
        sampled = torch.cat([foreground, background])
        return sampled, classes[sampled]

    @abstractmethod
    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Predict from regions.

        Args:
            images: the N input images.
            features: feature maps by name.
            proposals: for each image with ``proposal_boxes`` and ``objectness_logits``.
            targets: for each image the ground truth; in training only.

        Returns:
            For each image its detections (unspecified in training), and the losses (empty
            in inference).
        """

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None
    ) -> dict[str, Any]:
        """The constructor's arguments out of a config; the shapes are for subclasses."""
        heads = cfg.MODEL.ROI_HEADS
        return {
            "num_classes": heads.NUM_CLASSES,
            "batch_size_per_image": heads.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": heads.POSITIVE_FRACTION,
            "proposal_matcher": Matcher(heads.IOU_THRESHOLDS, heads.IOU_LABELS),
            "proposal_append_gt": heads.PROPOSAL_APPEND_GT,
        }


def report_sample(sampled: Sequence[Instances], num_classes: int) -> None:
    """Put the mean numbers of foreground and background proposals into the event storage."""
    storage = active_event_storage()
    if storage is None or not sampled:
        return
    background = torch.stack([(image.gt_classes == num_classes).sum() for image in sampled])
    total = sum(len(image) for image in sampled)
    mean_background = background.sum() / len(sampled)
    storage.put_scalar("roi_head/num_fg_samples", total / len(sampled) - mean_background)
    storage.put_scalar("roi_head/num_bg_samples", mean_background)


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """Box head, and maybe mask and keypoint heads, each with its own pooler.

    Args:
        box_in_features: names of the feature maps for the box head.
        box_pooler: extracts the box head's region features.
        box_head: network on them.
        box_predictor: predictions, losses and inference, see `FastRCNNOutputLayers`.
        mask_in_features: names of the feature maps for the mask head; None for no masks.
        mask_pooler: extracts the mask head's region features; None gives the head the
            feature maps themselves.
        mask_head: see `BaseMaskRCNNHead`.
        keypoint_in_features: as for masks.
        keypoint_pooler: as for masks.
        keypoint_head: see `BaseKeypointRCNNHead`.
        train_on_pred_boxes: train mask and keypoint heads on the predicted boxes instead
            of the proposals.
        **kwargs: arguments of `ROIHeads`.
    """

    @configurable
    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: Sequence[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: Sequence[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = self.box_in_features = list(box_in_features)
        self.box_pooler = box_pooler
        self.box_head: Any = box_head
        self.box_predictor: Any = box_predictor
        self.mask_on = mask_in_features is not None
        if mask_in_features is not None:
            _require_head(mask_head, "mask")
            self.mask_in_features = list(mask_in_features)
            self.mask_pooler = mask_pooler
            self.mask_head = mask_head
        self.keypoint_on = keypoint_in_features is not None
        if keypoint_in_features is not None:
            _require_head(keypoint_head, "keypoint")
            self.keypoint_in_features = list(keypoint_in_features)
            self.keypoint_pooler = keypoint_pooler
            self.keypoint_head = keypoint_head
        self.train_on_pred_boxes = train_on_pred_boxes

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `ROIHeads.forward`. In training the sampled proposals are returned.

        Raises:
            ValueError: in training without targets.
        """
        if not self.training:
            detections = self._forward_box(features, proposals)
            # The other heads look at the detected boxes, not at the proposals.
            return self.forward_with_given_boxes(features, detections), {}
        if targets is None:
            raise ValueError("the ROI heads want targets while training, got None")
        proposals = self.label_and_sample_proposals(proposals, targets)
        losses = self._box_losses(features, proposals, targets)
        losses.update(self._forward_mask(features, proposals))
        losses.update(self._forward_keypoint(features, proposals))
        return proposals, losses

    def forward_with_given_boxes(
        self, features: Mapping[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add the outputs of the mask and keypoint heads to known boxes.

        Args:
            features: feature maps by name.
            instances: for each image with ``pred_boxes`` and ``pred_classes``.

        Returns:
            The instances with ``pred_masks`` and ``pred_keypoints``, whichever exist.

        Raises:
            ValueError: in training, or if the boxes or classes are missing.
        """
        require_known_boxes(instances, training=self.training)
        instances = self._forward_mask(features, instances)
        return self._forward_keypoint(features, instances)

    def predict_tensors(
        self, features: Mapping[str, Tensor], regions: Regions, image_sizes: Tensor
    ) -> HeadOutputs:
        """`forward` in evaluation, as a function of tensors.

        Args:
            features: feature maps by name.
            regions: the proposals of all images.
            image_sizes: (N, 2), height and width of each image.
        """
        found = self._detect(features, regions, image_sizes)
        masks = keypoints = None
        if self.mask_on:
            pooled = self._pooled(features, self.mask_in_features, self.mask_pooler, found)
            masks = _tensor_head(self.mask_head).predict_tensors(pooled, found)
        if self.keypoint_on:
            pooled = self._pooled(features, self.keypoint_in_features, self.keypoint_pooler, found)
            keypoints = _tensor_head(self.keypoint_head).predict_tensors(pooled, found)
        return HeadOutputs(found, masks, keypoints)

    def _detect(
        self, features: Mapping[str, Tensor], regions: Regions, image_sizes: Tensor
    ) -> Detections:
        maps = [features[name] for name in self.box_in_features]
        predictions = self.box_predictor(self.box_head(self.box_pooler.pool(maps, regions.rois())))
        found: Detections = self.box_predictor.detect(predictions, regions, image_sizes)
        return found

    def _pooled(
        self,
        features: Mapping[str, Tensor],
        names: Sequence[str],
        pooler: ROIPooler | None,
        found: Detections,
    ) -> Tensor | dict[str, Tensor]:
        if pooler is None:
            return {name: features[name] for name in names}
        return pooler.pool([features[name] for name in names], found.rois())

    def _forward_box(self, features: Mapping[str, Tensor], proposals: list[Instances]) -> Any:
        """The box head's losses of labelled proposals, or the detections."""
        pooled = self.box_pooler(
            [features[name] for name in self.box_in_features],
            [image.proposal_boxes for image in proposals],
        )
        predictions = self.box_predictor(self.box_head(pooled))
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return detections
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            with torch.no_grad():
                boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
                for image, image_boxes in zip(proposals, boxes, strict=True):
                    image.proposal_boxes = type(image.proposal_boxes)(image_boxes)
        return losses

    def _box_losses(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """`_forward_box` in training; subclasses that label anew give it the targets."""
        losses: dict[str, Tensor] = self._forward_box(features, proposals)
        return losses

    def _forward_mask(self, features: Mapping[str, Tensor], instances: list[Instances]) -> Any:
        """The mask head's losses of labelled proposals, or instances with masks."""
        if not self.mask_on:
            return {} if self.training else instances
        assert self.mask_head is not None
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        regions = self._region_features(
            features, self.mask_in_features, self.mask_pooler, instances
        )
        return self.mask_head(regions, instances)

    def _forward_keypoint(self, features: Mapping[str, Tensor], instances: list[Instances]) -> Any:
        """The keypoint head's losses of labelled proposals, or instances with keypoints."""
        if not self.keypoint_on:
            return {} if self.training else instances
        assert self.keypoint_head is not None
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
            instances = select_proposals_with_visible_keypoints(instances)
        regions = self._region_features(
            features, self.keypoint_in_features, self.keypoint_pooler, instances
        )
        return self.keypoint_head(regions, instances)

    def _region_features(
        self,
        features: Mapping[str, Tensor],
        names: Sequence[str],
        pooler: ROIPooler | None,
        instances: Sequence[Instances],
    ) -> Tensor | dict[str, Tensor]:
        if pooler is None:
            return {name: features[name] for name in names}
        boxes = [image.proposal_boxes if self.training else image.pred_boxes for image in instances]
        pooled: Tensor = pooler([features[name] for name in names], boxes)
        return pooled

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None
    ) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        shapes = input_shape or {}
        arguments = super().from_config(cfg, shapes)
        arguments["train_on_pred_boxes"] = cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES
        arguments |= cls._init_box_head(cfg, shapes)
        if cfg.MODEL.MASK_ON:
            arguments |= cls._init_mask_head(cfg, shapes)
        if cfg.MODEL.KEYPOINT_ON:
            arguments |= cls._init_keypoint_head(cfg, shapes)
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        pooler, pooled_shape = build_region_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        head = build_box_head(cfg, pooled_shape)
        return {
            "box_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "box_pooler": pooler,
            "box_head": head,
            "box_predictor": FastRCNNOutputLayers(cfg, head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        pooler, shape = build_optional_region_pooler(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)
        return {
            "mask_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "mask_pooler": pooler,
            "mask_head": build_mask_head(cfg, shape),
        }

    @classmethod
    def _init_keypoint_head(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]
    ) -> dict[str, Any]:
        pooler, shape = build_optional_region_pooler(cfg, cfg.MODEL.ROI_KEYPOINT_HEAD, input_shape)
        return {
            "keypoint_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "keypoint_pooler": pooler,
            "keypoint_head": build_keypoint_head(cfg, shape),
        }


def require_known_boxes(instances: Sequence[Instances], *, training: bool) -> None:
    """Refuse what `StandardROIHeads.forward_with_given_boxes` cannot work on."""
    if training:
        raise ValueError("forward_with_given_boxes is for inference; call eval() first")
    for image in instances:
        if not (image.has("pred_boxes") and image.has("pred_classes")):
            raise ValueError(
                "given instances need pred_boxes and pred_classes, "
                f"got the fields {sorted(image.get_fields())}"
            )


def _tensor_head(head: Any) -> Any:
    """A mask or keypoint head that predicts in tensors.

    Raises:
        TypeError: if it does not.
    """
    if not hasattr(head, "predict_tensors"):
        raise TypeError(
            f"{type(head).__name__} has no predict_tensors(x, detections), which a model without "
            "Instances needs; derive it from BaseMaskRCNNHead or BaseKeypointRCNNHead"
        )
    return head


def _require_head(head: nn.Module | None, kind: str) -> None:
    if head is None:
        raise ValueError(f"{kind}_in_features was given without {kind}_head")
