"""Box head, mask head and keypoint head on pooled regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import ImageList, Instances

from ..batched_selection import Detections, Regions
from ..layers import ShapeSpec
from ..poolers import ROIPooler
from .build import ROI_HEADS_REGISTRY, build_box_head, build_keypoint_head, build_mask_head
from .fast_rcnn import FastRCNNOutputLayers
from .region_branch import RegionBranch
from .region_head import HeadOutputs, Losses, RegionOutput, as_instances, as_losses
from .region_pooling import branch_from_config, build_region_pooler
from .region_selection import select_foreground_proposals, select_foreground_with_keypoints
from .roi_heads import ROIHeads, require_known_boxes


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

    Raises:
        ValueError: if feature maps for masks or keypoints are given without a head.
    """

    _box_predictor_class: type[FastRCNNOutputLayers] = FastRCNNOutputLayers

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

    @property
    def box_branch(self) -> RegionBranch:
        """What box predictions are made from; the predictor comes after the head."""
        return RegionBranch(self.box_in_features, self.box_pooler, self.box_head)

    @property
    def mask_branch(self) -> RegionBranch | None:
        """What masks are made from; None without masks, or while ``mask_on`` is False."""
        if not self.mask_on:
            return None
        return RegionBranch(self.mask_in_features, self.mask_pooler, self.mask_head)

    @property
    def keypoint_branch(self) -> RegionBranch | None:
        """What keypoints are made from; None without, or while ``keypoint_on`` is False."""
        if not self.keypoint_on:
            return None
        return RegionBranch(self.keypoint_in_features, self.keypoint_pooler, self.keypoint_head)

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], Losses]:
        """See `ROIHeads.forward`. In training the sampled proposals are returned.

        Raises:
            ValueError: in training without targets.
        """
        if not self.training:
            detections = as_instances(self._forward_box(features, proposals), "_forward_box()")
            # The other heads look at the detected boxes, not at the proposals.
            return self.forward_with_given_boxes(features, detections), {}
        if targets is None:
            raise ValueError("the ROI heads want targets while training, got None")
        proposals = self.label_and_sample_proposals(proposals, targets)
        return proposals, {
            **self._box_losses(features, proposals, targets),
            **as_losses(self._forward_mask(features, proposals), "_forward_mask()"),
            **as_losses(self._forward_keypoint(features, proposals), "_forward_keypoint()"),
        }

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
        instances = as_instances(self._forward_mask(features, instances), "_forward_mask()")
        return as_instances(self._forward_keypoint(features, instances), "_forward_keypoint()")

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
        masks, keypoints = (
            None if branch is None else branch.predict_tensors(features, found)
            for branch in (self.mask_branch, self.keypoint_branch)
        )
        return HeadOutputs(found, masks, keypoints)

    def _detect(
        self, features: Mapping[str, Tensor], regions: Regions, image_sizes: Tensor
    ) -> Detections:
        pooled = self.box_branch.of_rows(features, regions.rois())
        predictions = self.box_predictor(self.box_head(pooled))
        found: Detections = self.box_predictor.detect(predictions, regions, image_sizes)
        return found

    # The following are what projects overwrite, with the arguments and results that they expect.

    def _forward_box(
        self, features: Mapping[str, Tensor], proposals: list[Instances]
    ) -> RegionOutput:
        """The box head's losses of labelled proposals, or the detections."""
        pooled = self.box_branch.of_boxes(features, [image.proposal_boxes for image in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        if not self.training:
            detections: list[Instances] = self.box_predictor.inference(predictions, proposals)[0]
            return detections
        losses: Losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            self._take_predicted_boxes(predictions, proposals)
        return losses

    def _forward_mask(
        self, features: Mapping[str, Tensor], instances: list[Instances]
    ) -> RegionOutput:
        """The mask head's losses of labelled proposals, or instances with masks."""
        branch = self.mask_branch
        if branch is None:
            return {} if self.training else instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        return self._output_of(branch, features, instances)

    def _forward_keypoint(
        self, features: Mapping[str, Tensor], instances: list[Instances]
    ) -> RegionOutput:
        """The keypoint head's losses of labelled proposals, or instances with keypoints."""
        branch = self.keypoint_branch
        if branch is None:
            return {} if self.training else instances
        if self.training:
            instances = select_foreground_with_keypoints(instances, self.num_classes)
        return self._output_of(branch, features, instances)

    def _box_losses(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances],
    ) -> Losses:
        """`_forward_box` in training; subclasses that label anew give it the targets."""
        return as_losses(self._forward_box(features, proposals), "_forward_box()")

    @torch.no_grad()
    def _take_predicted_boxes(self, predictions: Any, proposals: list[Instances]) -> None:
        """Let the other heads see the predicted box of each proposal's own class."""
        boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
        for image, image_boxes in zip(proposals, boxes, strict=True):
            image.proposal_boxes = type(image.proposal_boxes)(image_boxes)

    def _output_of(
        self, branch: RegionBranch, features: Mapping[str, Tensor], instances: list[Instances]
    ) -> RegionOutput:
        boxes = [image.proposal_boxes if self.training else image.pred_boxes for image in instances]
        output: RegionOutput = branch.head(branch.of_boxes(features, boxes), instances)
        return output

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
            "box_predictor": cls._box_predictor_class(cfg, head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        options = cfg.MODEL.ROI_MASK_HEAD
        branch = branch_from_config(cfg, options, input_shape, build_mask_head)
        return {f"mask_{name}": value for name, value in branch._asdict().items()}

    @classmethod
    def _init_keypoint_head(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]
    ) -> dict[str, Any]:
        options = cfg.MODEL.ROI_KEYPOINT_HEAD
        branch = branch_from_config(cfg, options, input_shape, build_keypoint_head)
        return {f"keypoint_{name}": value for name, value in branch._asdict().items()}


def _require_head(head: nn.Module | None, kind: str) -> None:
    if head is None:
        raise ValueError(f"{kind}_in_features was given without {kind}_head")
