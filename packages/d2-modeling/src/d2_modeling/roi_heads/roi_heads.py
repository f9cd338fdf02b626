"""What all ROI heads do first: match proposals with ground truth and draw a sample."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import ImageList, Instances

from ..events import active_event_storage
from ..gt_classes import check_gt_classes
from ..host_waits import remember
from ..layers import ShapeSpec
from ..matcher import Matcher, classes_of_matches, match_boxes
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels, subsample_labels_of_images
from .region_head import Losses


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
        matches = [
            match_boxes(self.proposal_matcher, gt.gt_boxes, image.proposal_boxes)
            for image, gt in zip(proposals, targets, strict=True)
        ]
        drawn = self._sample_images(matches, targets)
        sampled = [
            _labelled_sample(image, gt, matched_idxs, *rows_and_classes)
            for image, gt, (matched_idxs, _), rows_and_classes in zip(
                proposals, targets, matches, drawn, strict=True
            )
        ]
        report_sample(sampled, self.num_classes)
        return sampled

    def _sample_images(
        self, matches: Sequence[tuple[Tensor, Tensor]], targets: Sequence[Instances]
    ) -> list[tuple[Tensor, Tensor]]:
        """`_sample_proposals` of each image, with one wait for the device."""
        if getattr(self._sample_proposals, "__func__", None) is not ROIHeads._sample_proposals:
            return [  # a subclass draws itself
                self._sample_proposals(*match, gt.gt_classes)
                for match, gt in zip(matches, targets, strict=True)
            ]
        classes = [
            classes_of_matches(*match, gt.gt_classes, self.num_classes)
            for match, gt in zip(matches, targets, strict=True)
        ]
        drawn = subsample_labels_of_images(
            classes, self.batch_size_per_image, self.positive_fraction, self.num_classes
        )
        sampled = []
        for (foreground, background), image in zip(drawn, classes, strict=True):
            rows = torch.cat([foreground, background])
            sampled.append((rows, image[rows]))
            remember(sampled[-1][1], (self.num_classes, len(foreground)))
        return sampled

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
    ) -> tuple[list[Instances], Losses]:
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


def _labelled_sample(
    proposals: Instances,
    targets: Instances,
    matched_idxs: Tensor,
    sampled_idxs: Tensor,
    gt_classes: Tensor,
) -> Instances:
    """The sampled proposals of an image with the fields of the ground truth of each."""
    proposals = proposals[sampled_idxs]
    proposals.gt_classes = gt_classes
    if len(targets) > 0:
        sampled_targets = matched_idxs[sampled_idxs]
        for name, value in targets.get_fields().items():
            if name.startswith("gt_") and not proposals.has(name):
                proposals.set(name, value[sampled_targets])
    return proposals


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
