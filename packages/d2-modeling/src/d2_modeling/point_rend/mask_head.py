"""PointRend for the masks of regions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Boxes, Instances

from ..batched_selection import Detections
from ..initialization import msra_fill, normal_fill, xavier_fill
from ..layers import Conv2d, ShapeSpec
from ..roi_heads import (
    ROI_MASK_HEAD_REGISTRY,
    RegionHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from ..roi_heads.mask_head import mask_probabilities, of_classes
from ..roi_heads.region_head import Losses
from .point_features import (
    generate_regular_grid_point_coords,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    point_sample_fine_grained_features,
    point_sample_of_rois,
    sample_point_labels,
    with_points,
)
from .point_head import build_point_head, roi_mask_point_loss

RegionBoxes: TypeAlias = Sequence[Boxes] | Tensor
"""The boxes of each image, or (R, 5) those of all images, the image's index first."""


class CoarseMaskHead(nn.Module):
    """Convolutions that halve a region's features, and fully connected layers.

    Args:
        input_shape: channels, height and width of the features.
        conv_dim: channels of the convolutions; more input channels are reduced first.
        fc_dim: channels of the fully connected layers.
        num_fc: their number.
        output_shape: of each region's output.

    Raises:
        ValueError: if the features have fewer channels than the convolutions.
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dim: int,
        fc_dim: int,
        num_fc: int,
        output_shape: Sequence[int],
    ) -> None:
        super().__init__()
        channels = input_shape.channels or 0
        if channels < conv_dim:
            raise ValueError(
                f"conv_dim {conv_dim} is more than the {channels} channels of the features, which "
                "are reduced to it: choose a smaller one"
            )
        self.output_shape = tuple(output_shape)
        self.reduce_channel_dim_conv: Conv2d | None = None
        if channels > conv_dim:
            self.reduce_channel_dim_conv = Conv2d(channels, conv_dim, 1, activation=F.relu)
        self.reduce_spatial_dim_conv = Conv2d(
            conv_dim, conv_dim, kernel_size=2, stride=2, activation=F.relu
        )
        features = conv_dim * ((input_shape.height or 1) // 2) * ((input_shape.width or 1) // 2)
        self.fcs: list[nn.Linear] = []
        for index in range(num_fc):
            layer = nn.Linear(features, fc_dim)
            self.add_module(f"fc{index + 1}", layer)
            self.fcs.append(layer)
            features = fc_dim
        self.prediction = nn.Linear(features, torch.Size(self.output_shape).numel())
        msra_fill(self.reduce_channel_dim_conv, self.reduce_spatial_dim_conv)
        xavier_fill(*self.fcs)
        normal_fill(self.prediction, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Map (R, C, H, W) to R maps of ``output_shape``."""
        if self.reduce_channel_dim_conv is not None:
            x = self.reduce_channel_dim_conv(x)
        x = self.reduce_spatial_dim_conv(x).flatten(1)
        for layer in self.fcs:
            x = F.relu(layer(x))
        out: Tensor = self.prediction(x)
        return out.unflatten(1, self.output_shape)


class PointMaskHead(RegionHead):
    """What mask heads share that predict points: pooling, and inference by subdivision.

    Args:
        feature_scales: size of each feature map over that of the images, by name.
        in_features: feature maps that the coarse prediction is made from.
        pooler_size: side of the regions' features that it is made from.
        point_head: classifies points; None leaves the coarse prediction as it is.
        point_in_features: feature maps that points are classified from.
        train_num_points: points of each region in training.
        subdivision_steps: how often the mask doubles in inference.
        subdivision_num_points: points that are looked at anew in each step.
        init_resolution: side of the mask before the first step.
    """

    def __init__(
        self,
        *,
        feature_scales: Mapping[str, float],
        in_features: Sequence[str],
        pooler_size: int,
        point_head: nn.Module | None,
        point_in_features: Sequence[str],
        train_num_points: int,
        subdivision_steps: int,
        subdivision_num_points: int,
        init_resolution: int,
    ) -> None:
        super().__init__()
        self._feature_scales = dict(feature_scales)
        self.in_features = tuple(in_features)
        self.pooler_size = pooler_size
        self.point_head: Any = point_head
        self.point_in_features = tuple(point_in_features)
        self.train_num_points = train_num_points
        self.subdivision_num_points = subdivision_num_points
        # Where a step would look at every pixel anyway, it starts from a larger mask instead.
        while subdivision_steps > 0 and 4 * init_resolution**2 <= subdivision_num_points:
            init_resolution *= 2
            subdivision_steps -= 1
        self.subdivision_steps = subdivision_steps
        self.init_resolution = init_resolution

    def inference(self, x: Mapping[str, Tensor], instances: list[Instances]) -> list[Instances]:
        """The instances with ``pred_masks``.

        Args:
            x: feature maps by name.
            instances: for each image the regions with ``pred_boxes`` and ``pred_classes``.
        """
        classes = torch.cat([image.pred_classes for image in instances])
        logits = self._mask_logits(x, [image.pred_boxes for image in instances], classes)
        mask_rcnn_inference(logits, instances)
        return instances

    def predict_tensors(self, x: Mapping[str, Tensor], found: Detections) -> Tensor:
        """`inference` as a function of tensors: (D, 1, S, S) probabilities.

        Args:
            x: feature maps by name.
            found: the detections of all images.
        """
        logits = self._mask_logits(x, found.rois(), found.classes)
        return mask_probabilities(logits, found.classes)

    @abstractmethod
    def _mask_logits(
        self, features: Mapping[str, Tensor], boxes: RegionBoxes, classes: Tensor
    ) -> Tensor:
        """(R, C, S, S) logits of the regions; those of their ``classes`` (R,) matter."""

    def _pooled(self, features: Mapping[str, Tensor], boxes: RegionBoxes) -> Tensor:
        """(R, C, S, S) features at the points of a regular grid in each box."""
        if isinstance(boxes, Tensor):
            count = boxes.shape[0]
        else:
            count = sum(len(image_boxes) for image_boxes in boxes)
        device = features[self.in_features[0]].device
        grid = generate_regular_grid_point_coords(count, self.pooler_size, device)
        pooled, _ = self._at_points(features, self.in_features, boxes, grid)
        return pooled.unflatten(2, (self.pooler_size, self.pooler_size))

    def _at_points(
        self,
        features: Mapping[str, Tensor],
        names: Sequence[str],
        boxes: RegionBoxes,
        point_coords: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Features (R, C, P) of points (R, P, 2) of boxes, and the points as pixels."""
        maps = [features[name] for name in names]
        scales = [self._feature_scales[name] for name in names]
        if isinstance(boxes, Tensor):
            return point_sample_of_rois(maps, scales, boxes, point_coords)
        return point_sample_fine_grained_features(maps, scales, boxes, point_coords)

    def _point_logits(
        self,
        features: Mapping[str, Tensor],
        boxes: RegionBoxes,
        point_coords: Tensor,
        coarse: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (R, C, P) of points of boxes, and the points as pixels."""
        fine, in_image = self._at_points(features, self.point_in_features, boxes, point_coords)
        return self._classified(fine, point_coords, coarse), in_image

    @abstractmethod
    def _classified(self, fine: Tensor, point_coords: Tensor, coarse: Tensor) -> Tensor:
        """Logits (R, C, P) from (R, F, P) features, (R, P, 2) points and the coarse prediction."""

    def _subdivided(
        self, features: Mapping[str, Tensor], coarse: Tensor, boxes: RegionBoxes, classes: Tensor
    ) -> Tensor:
        """Masks (R, C, S, S), refined where those of the classes are uncertain."""
        side = self.init_resolution
        grid = generate_regular_grid_point_coords(coarse.shape[0], side, coarse.device)
        logits, _ = self._point_logits(features, boxes, grid, coarse)
        masks = logits.unflatten(2, (side, side))
        for _ in range(self.subdivision_steps):
            masks = F.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
            indices, points = get_uncertain_point_coords_on_grid(
                mask_uncertainty(masks, classes), self.subdivision_num_points
            )
            logits, _ = self._point_logits(features, boxes, points, coarse)
            masks = with_points(masks, indices, logits)
        return masks


@ROI_MASK_HEAD_REGISTRY.register()
class PointRendMaskHead(PointMaskHead):
    """A coarse mask of each region, refined by a point head.

    Args:
        coarse_head: maps (R, C, S, S) features to (R, K, s, s) logits.
        oversample_ratio, importance_sample_ratio: see
            `get_uncertain_point_coords_with_randomness`.
        options: see `PointMaskHead`.
    """

    @configurable
    def __init__(
        self,
        *,
        coarse_head: nn.Module,
        oversample_ratio: float,
        importance_sample_ratio: float,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.coarse_head = coarse_head
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio

    def losses(self, x: Mapping[str, Tensor], instances: list[Instances]) -> Losses:
        """``loss_mask`` of the coarse masks and ``loss_mask_point``.

        Args:
            x: feature maps by name.
            instances: for each image the regions with ``proposal_boxes`` and ground truth.
        """
        boxes = [image.proposal_boxes for image in instances]
        coarse = self.coarse_head(self._pooled(x, boxes))
        losses = {"loss_mask": mask_rcnn_loss(coarse, instances)}
        if self.point_head is not None:
            points = self._drawn_points(coarse, instances)
            logits, in_image = self._point_logits(x, boxes, points, coarse)
            with torch.no_grad():
                labels = sample_point_labels(instances, in_image)
            losses["loss_mask_point"] = roi_mask_point_loss(logits, instances, labels)
        return losses

    def _mask_logits(
        self, features: Mapping[str, Tensor], boxes: RegionBoxes, classes: Tensor
    ) -> Tensor:
        coarse: Tensor = self.coarse_head(self._pooled(features, boxes))
        if self.point_head is None:
            return coarse
        return self._subdivided(features, coarse, boxes, classes)

    @torch.no_grad()
    def _drawn_points(self, coarse: Tensor, instances: Sequence[Instances]) -> Tensor:
        classes = torch.cat([image.gt_classes for image in instances])
        return get_uncertain_point_coords_with_randomness(
            coarse,
            lambda logits: mask_uncertainty(logits, classes),
            self.train_num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )

    def _classified(self, fine: Tensor, point_coords: Tensor, coarse: Tensor) -> Tensor:
        logits: Tensor = self.point_head(fine, point_sample(coarse, point_coords))
        return logits

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        options = cfg.MODEL.ROI_MASK_HEAD
        side = options.OUTPUT_SIDE_RESOLUTION
        output_shape = (cfg.MODEL.ROI_HEADS.NUM_CLASSES, side, side)
        point_head = point_head_of(cfg, input_shape) if options.POINT_HEAD_ON else None
        return point_mask_options(cfg, input_shape) | {
            "coarse_head": coarse_head_of(cfg, input_shape, output_shape),
            "point_head": point_head,
            "oversample_ratio": cfg.MODEL.POINT_HEAD.OVERSAMPLE_RATIO,
            "importance_sample_ratio": cfg.MODEL.POINT_HEAD.IMPORTANCE_SAMPLE_RATIO,
        }


def mask_uncertainty(logits: Tensor, classes: Tensor) -> Tensor:
    """How near to 0 the logits of the regions' classes are: (R, 1, …) from (R, C, …)."""
    return -of_classes(logits, classes).abs()


def point_mask_options(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
    """The arguments of `PointMaskHead` out of a config, but for the point head."""
    options, points = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.POINT_HEAD
    return {
        "feature_scales": {name: 1.0 / (s.stride or 1) for name, s in input_shape.items()},
        "in_features": options.IN_FEATURES,
        "pooler_size": options.POOLER_RESOLUTION,
        "point_in_features": points.IN_FEATURES,
        "train_num_points": points.TRAIN_NUM_POINTS,
        "subdivision_steps": points.SUBDIVISION_STEPS,
        "subdivision_num_points": points.SUBDIVISION_NUM_POINTS,
        "init_resolution": options.OUTPUT_SIDE_RESOLUTION,
    }


def coarse_head_of(
    cfg: CfgNode, input_shape: Mapping[str, ShapeSpec], output_shape: Sequence[int]
) -> CoarseMaskHead:
    """The head of a config that sees pooled features."""
    options = cfg.MODEL.ROI_MASK_HEAD
    side = options.POOLER_RESOLUTION
    return CoarseMaskHead(
        ShapeSpec(channels=channels_of(input_shape, options.IN_FEATURES), height=side, width=side),
        conv_dim=options.CONV_DIM,
        fc_dim=options.FC_DIM,
        num_fc=options.NUM_FC,
        output_shape=output_shape,
    )


def point_head_of(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> Any:
    """The point head of a config for the classes of its regions.

    Raises:
        ValueError: if the two have different numbers of classes.
    """
    points = cfg.MODEL.POINT_HEAD
    if points.NUM_CLASSES != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        raise ValueError(
            f"MODEL.POINT_HEAD.NUM_CLASSES {points.NUM_CLASSES} has to be "
            f"MODEL.ROI_HEADS.NUM_CLASSES, {cfg.MODEL.ROI_HEADS.NUM_CLASSES}"
        )
    channels = channels_of(input_shape, points.IN_FEATURES)
    return build_point_head(cfg, ShapeSpec(channels=channels, height=1, width=1))


def channels_of(input_shape: Mapping[str, ShapeSpec], names: Sequence[str]) -> int:
    """The channels of several feature maps together."""
    return sum(input_shape[name].channels or 0 for name in names)
