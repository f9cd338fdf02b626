"""ROI heads that share the last stage of a ResNet."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Boxes, ImageList, Instances

from ..backbone import BottleneckBlock, ResNet
from ..batched_selection import Regions
from ..layers import CNNBlockBase, ShapeSpec
from ..poolers import ROIPooler
from .build import ROI_HEADS_REGISTRY, build_mask_head
from .fast_rcnn import FastRCNNOutputLayers
from .region_branch import tensors_of_head
from .region_head import HeadOutputs, Losses, as_instances, as_losses
from .region_pooling import build_region_pooler
from .region_selection import foreground_rows
from .roi_heads import ROIHeads, require_known_boxes


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """Pooled regions go through ``res5`` once, for the box predictions and the mask head.

    The heads of a "C4" model, whose backbone ends with ``res4``.

    Args:
        in_features: names of the feature maps to pool from.
        pooler: extracts region features.
        res5: network on them, or the blocks that it consists of.
        box_predictor: predictions from averaged features, see `FastRCNNOutputLayers`.
        mask_head: None, or a `BaseMaskRCNNHead` on the features of ``res5``.
        **kwargs: arguments of `ROIHeads`.

    Source: He et al., "Mask R-CNN", 2017, figure 4 left.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        pooler: ROIPooler,
        res5: nn.Module | Sequence[nn.Module],
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = list(in_features)
        self.pooler = pooler
        self.res5 = res5 if isinstance(res5, nn.Module) else nn.Sequential(*res5)
        self.box_predictor: Any = box_predictor
        self.mask_on = mask_head is not None
        if mask_head is not None:
            self.mask_head = mask_head

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
        if self.training:
            if targets is None:
                raise ValueError("the ROI heads want targets while training, got None")
            proposals = self.label_and_sample_proposals(proposals, targets)
        regions = self._shared_roi_transform(
            [features[name] for name in self.in_features],
            [image.proposal_boxes for image in proposals],
        )
        predictions = self.box_predictor(regions.mean(dim=(2, 3)))
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        losses: Losses = self.box_predictor.losses(predictions, proposals)
        if self.mask_on:
            rows = foreground_rows(proposals, self.num_classes)
            foreground = [image[chosen] for image, chosen in zip(proposals, rows, strict=True)]
            starts = itertools.accumulate([len(image) for image in proposals], initial=0)
            chosen_of_all = [chosen + start for chosen, start in zip(rows, starts, strict=False)]
            masks = self.mask_head(regions[torch.cat(chosen_of_all)], foreground)
            losses.update(as_losses(masks, "mask_head"))
        return proposals, losses

    def forward_with_given_boxes(
        self, features: Mapping[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """See `StandardROIHeads.forward_with_given_boxes`."""
        require_known_boxes(instances, training=self.training)
        if not self.mask_on:
            return instances
        regions = self._shared_roi_transform(
            [features[name] for name in self.in_features],
            [image.pred_boxes for image in instances],
        )
        return as_instances(self.mask_head(regions, instances), "mask_head")

    def predict_tensors(
        self, features: Mapping[str, Tensor], regions: Regions, image_sizes: Tensor
    ) -> HeadOutputs:
        """See `StandardROIHeads.predict_tensors`."""
        maps = [features[name] for name in self.in_features]
        pooled = self.res5(self.pooler.pool(maps, regions.rois()))
        predictions = self.box_predictor(pooled.mean(dim=(2, 3)))
        found = self.box_predictor.detect(predictions, regions, image_sizes)
        masks = None
        if self.mask_on:
            shared = self.res5(self.pooler.pool(maps, found.rois()))
            masks = tensors_of_head(self.mask_head, shared, found)
        return HeadOutputs(found, masks, None)

    def _shared_roi_transform(self, features: Sequence[Tensor], boxes: Sequence[Boxes]) -> Tensor:
        """What box and mask head both get: regions of the maps ``in_features``, through res5."""
        regions: Tensor = self.res5(self.pooler(features, boxes))
        return regions

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None
    ) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        _check_config(cfg)
        shapes = input_shape or {}
        pooler, pooled_shape = build_region_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, shapes)
        res5, width = cls._build_res5_block(cfg, pooled_shape)
        arguments = {
            **super().from_config(cfg, shapes),
            "in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "pooler": pooler,
            "res5": res5,
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels=width)),
        }
        if cfg.MODEL.MASK_ON:
            size = cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
            shape = ShapeSpec(channels=width, height=size, width=size)
            arguments["mask_head"] = build_mask_head(cfg, shape)
        return arguments

    @classmethod
    def _build_res5_block(
        cls, cfg: CfgNode, input_shape: ShapeSpec
    ) -> tuple[list[CNNBlockBase], int]:
        """The blocks of the last stage of ``cfg.MODEL.RESNETS``, and their output width."""
        options = cfg.MODEL.RESNETS
        width = 8 * options.RES2_OUT_CHANNELS
        blocks = ResNet.make_stage(
            BottleneckBlock,
            3,
            in_channels=input_shape.channels or 0,
            out_channels=width,
            stride_per_block=[2, 1, 1],
            bottleneck_channels=8 * options.NUM_GROUPS * options.WIDTH_PER_GROUP,
            num_groups=options.NUM_GROUPS,
            norm=options.NORM,
            stride_in_1x1=options.STRIDE_IN_1X1,
        )
        return blocks, width


def _check_config(cfg: CfgNode) -> None:
    """Refuse keys that ask for what these heads have no argument for."""
    if cfg.MODEL.KEYPOINT_ON:
        raise ValueError("Res5ROIHeads has no keypoint head, but MODEL.KEYPOINT_ON is set")
    if cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE[-1]:
        raise ValueError(
            "Res5ROIHeads has no deformable res5, but MODEL.RESNETS.DEFORM_ON_PER_STAGE asks "
            "for one; set its last value to False"
        )
