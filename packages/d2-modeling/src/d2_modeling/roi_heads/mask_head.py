"""Masks of regions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Instances, PolygonMasks

from ..batched_selection import Detections
from ..events import active_event_storage
from ..host_waits import asking_waits
from ..initialization import msra_fill, normal_fill
from ..layers import Conv2d, ConvTranspose2d, ShapeSpec, get_norm
from ..layers.convolution import Norm
from .build import ROI_MASK_HEAD_REGISTRY
from .region_head import Losses, RegionHead

_LEFT_RIGHT = "Left: mask prediction;   Right: mask GT"


def mask_rcnn_loss(
    pred_mask_logits: Tensor, instances: Sequence[Instances], vis_period: int = 0
) -> Tensor:
    """Binary cross entropy of each region's mask of its ground truth class.

    Args:
        pred_mask_logits: (B, C, S, S) for the B instances of all images; C is the number
            of classes, or 1 for one mask for all.
        instances: for each image, in the order of the logits, with ``proposal_boxes``,
            ``gt_classes`` and ``gt_masks``.
        vis_period: every so many iterations put pictures into the event storage; 0 never.

    Returns:
        Scalar, 0 if there is no instance.

    Raises:
        ValueError: if the masks are not square, or an image has no ``gt_masks``.

    Source: He et al., "Mask R-CNN", 2017.
    """
    num_masks, num_channels, height, width = pred_mask_logits.shape
    if height != width:
        raise ValueError(f"predicted masks have to be square, got {height} x {width}")
    with_masks = [image for image in instances if len(image) > 0]
    if not with_masks:
        return pred_mask_logits.sum() * 0
    if not all(image.has("gt_masks") for image in with_masks):
        raise ValueError(
            "training a mask head needs 'gt_masks', but the annotations of an image give no masks: "
            "they have no segmentation, or the mapper leaves it out (use_instance_mask). Turn the "
            "head off (MODEL.MASK_ON = False, or mask_in_features=None), or give annotations with "
            "masks"
        )
    masks = [image.gt_masks for image in with_masks]
    boxes = [image.proposal_boxes.tensor for image in with_masks]
    if all(type(one).crop_and_resize is PolygonMasks.crop_and_resize for one in masks):
        # In one go: polygons live on the host, which waits for their boxes.
        masks, boxes = [PolygonMasks.cat(masks)], [torch.cat(boxes)]
    pairs = zip(masks, boxes, strict=True)
    gt_masks = torch.cat([some.crop_and_resize(theirs, height) for some, theirs in pairs]).to(
        pred_mask_logits.device, non_blocking=asking_waits(pred_mask_logits)
    )
    if num_channels == 1:
        logits = pred_mask_logits[:, 0]
    else:
        gt_classes = torch.cat([image.gt_classes for image in with_masks])
        logits = pred_mask_logits[torch.arange(num_masks, device=gt_classes.device), gt_classes]
    gt_bool = gt_masks if gt_masks.dtype == torch.bool else gt_masks > 0.5
    _report_masks(logits, gt_bool, vis_period)
    return F.binary_cross_entropy_with_logits(logits, gt_masks.to(logits.dtype))


@torch.no_grad()
def _report_masks(logits: Tensor, gt_masks: Tensor, vis_period: int) -> None:
    storage = active_event_storage()
    if storage is None:
        return
    incorrect = (logits > 0.0) != gt_masks
    total = max(incorrect.numel(), 1)
    num_positive = gt_masks.sum()
    wrong, missed = incorrect.sum(), (incorrect & gt_masks).sum()
    storage.put_scalar("mask_rcnn/accuracy", 1 - wrong / total)
    storage.put_scalar(
        "mask_rcnn/false_positive", (wrong - missed) / (total - num_positive).clamp(min=1)
    )
    storage.put_scalar("mask_rcnn/false_negative", missed / num_positive.clamp(min=1))
    if vis_period > 0 and storage.iter % vis_period == 0:
        pairs = torch.cat([logits.sigmoid(), gt_masks.to(logits.dtype)], dim=2)
        for index, pair in enumerate(pairs):
            storage.put_image(f"{_LEFT_RIGHT} ({index})", pair.expand(3, -1, -1))


def mask_rcnn_inference(pred_mask_logits: Tensor, pred_instances: Sequence[Instances]) -> None:
    """Set ``pred_masks`` of each image to the probabilities of the predicted classes.

    Args:
        pred_mask_logits: (B, C, S, S) as in `mask_rcnn_loss`.
        pred_instances: for each image with ``pred_classes``; gets (N, 1, S, S) masks.
    """
    if not pred_instances:
        return
    _put_masks(mask_probabilities(pred_mask_logits, _classes(pred_instances)), pred_instances)


def _classes(instances: Sequence[Instances]) -> Tensor:
    return torch.cat([image.pred_classes for image in instances])


def _put_masks(probabilities: Tensor, instances: Sequence[Instances]) -> None:
    masks = probabilities.split([len(image) for image in instances])
    for image_masks, image in zip(masks, instances, strict=True):
        image.pred_masks = image_masks


def mask_probabilities(logits: Tensor, classes: Tensor) -> Tensor:
    """(B, 1, S, S) probabilities of each region's class.

    Args:
        logits: (B, C, S, S) as in `mask_rcnn_loss`.
        classes: (B,) int64.
    """
    return of_classes(logits, classes).sigmoid()


def of_classes(logits: Tensor, classes: Tensor) -> Tensor:
    """(B, 1, …) of each region's class from (B, C, …), or all if C is 1."""
    if logits.shape[1] == 1:
        return logits
    index = classes.view(-1, *[1] * (logits.dim() - 1)).expand(-1, -1, *logits.shape[2:])
    return logits.gather(1, index)


class BaseMaskRCNNHead(RegionHead):
    """Loss and inference of Mask R-CNN around the layers of a subclass.

    Args:
        loss_weight: factor on the loss.
        vis_period: see `mask_rcnn_loss`.
    """

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vis_period = vis_period

    def losses(self, x: Any, instances: list[Instances]) -> Losses:
        """``loss_mask`` of regions with ``gt_masks``, see `mask_rcnn_loss`.

        Args:
            x: region features, as the ROI heads give them.
            instances: for each image the regions with ``proposal_boxes`` and ground truth.
        """
        loss = mask_rcnn_loss(self.layers(x), instances, self.vis_period)
        return {"loss_mask": loss * self.loss_weight}

    def inference(self, x: Any, instances: list[Instances]) -> list[Instances]:
        """The instances with ``pred_masks``, see `mask_rcnn_inference`.

        Args:
            x: region features, as the ROI heads give them.
            instances: for each image the regions with ``pred_classes``.
        """
        if instances:
            _put_masks(self.probabilities(x, _classes(instances)), instances)
        return instances

    def predict_tensors(self, x: Any, found: Detections) -> Tensor:
        """`inference` as a function of tensors: (D, 1, S, S) probabilities.

        Args:
            x: features of the detections, as the ROI heads give them.
            found: the detections of all images.
        """
        return self.probabilities(x, found.classes)

    def probabilities(self, x: Any, classes: Tensor) -> Tensor:
        """(B, 1, S, S) probabilities of each region's class.

        Args:
            x: region features, as the ROI heads give them.
            classes: (B,) int64.
        """
        return mask_probabilities(self.layers(x), classes)

    @abstractmethod
    def layers(self, x: Any) -> Tensor:
        """Map region features to (B, C, S, S) mask logits."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Any) -> dict[str, Any]:
        """The constructor's arguments out of a config; the shape is for subclasses."""
        return {"vis_period": cfg.VIS_PERIOD}


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead):
    """3×3 convolutions, a 2×2 deconvolution that doubles the size, a 1×1 prediction.

    Args:
        input_shape: channels of the region features.
        num_classes: number of masks per region, 1 for class-agnostic masks.
        conv_dims: output channels of the convolutions; the last is the deconvolution's.
        conv_norm: normalisation of the convolutions, see `get_norm`.
        loss_weight: see `BaseMaskRCNNHead`.
        vis_period: see `BaseMaskRCNNHead`.

    Raises:
        ValueError: if ``conv_dims`` is empty.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: Sequence[int],
        conv_norm: Norm = "",
        loss_weight: float = 1.0,
        vis_period: int = 0,
    ) -> None:
        super().__init__(loss_weight=loss_weight, vis_period=vis_period)
        if not conv_dims:
            raise ValueError("conv_dims wants at least the width of the deconvolution")
        if not isinstance(input_shape, ShapeSpec) or input_shape.channels is None:
            raise ValueError(f"the mask head wants the number of channels, got {input_shape}")
        width = input_shape.channels
        self._conv_names: list[str] = []
        convolutions: list[Conv2d] = []
        for number, out_width in enumerate(conv_dims[:-1], start=1):
            layer = Conv2d(
                width,
                out_width,
                kernel_size=3,
                padding=1,
                bias=not conv_norm,
                norm=get_norm(conv_norm, out_width),
                activation=nn.ReLU(inplace=True),
            )
            convolutions.append(layer)
            self.add_module(f"mask_fcn{number}", layer)
            self._conv_names.append(f"mask_fcn{number}")
            width = out_width
        self.deconv = ConvTranspose2d(width, conv_dims[-1], kernel_size=2, stride=2)
        self.predictor = nn.Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        msra_fill(*convolutions, self.deconv)
        normal_fill(self.predictor, std=0.001)

    def layers(self, x: Tensor) -> Tensor:
        """Map (B, C, S, S) to (B, num_classes, 2S, 2S)."""
        x = self._convolved(x)
        if self._acts_on_pixels():
            return _in_image_order(_predicted(_doubled(x, self.deconv), self.predictor))
        logits: Tensor = self.predictor(F.relu(self.deconv(x)))
        return logits

    def probabilities(self, x: Tensor, classes: Tensor) -> Tensor:
        """See `BaseMaskRCNNHead.probabilities`; masks of other classes are not computed."""
        own_layers = getattr(self.layers, "__func__", None) is MaskRCNNConvUpsampleHead.layers
        if not own_layers or not self._acts_on_pixels() or self.predictor.out_channels == 1:
            return super().probabilities(x, classes)
        doubled = _doubled(self._convolved(x), self.deconv)
        return _in_image_order(_predicted_of(classes, doubled, self.predictor)).sigmoid()

    def _convolved(self, x: Tensor) -> Tensor:
        for name in self._conv_names:
            x = self.get_submodule(name)(x)
        return x

    def _acts_on_pixels(self) -> bool:
        """Whether what follows the convolutions is matrix products over pixels.

        On CPUs those are about twice as fast, and only the few channels of their result are
        brought into image order, not the wide map between.
        """
        return _is_plain(self.deconv, ConvTranspose2d, 2) and _is_plain(
            self.predictor, nn.Conv2d, 1
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shape of the region features."""
        options = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if options.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            # One more than convolutions: the deconvolution's width.
            "conv_dims": [options.CONV_DIM] * (options.NUM_CONV + 1),
            "conv_norm": options.NORM,
        }


def _is_plain(layer: nn.Module, kind: type[nn.Module], kernel_size: int) -> bool:
    """Whether calling a layer is nothing but the operation it was built for.

    It is not where the layer was replaced, wrapped, hooked or parametrised.
    """
    return (
        type(layer) is kind
        and "forward" not in vars(layer)
        and layer.padding == (0, 0)
        and layer.kernel_size == layer.stride == (kernel_size, kernel_size)
        and layer.bias is not None
        and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)
    )


def _doubled(x: Tensor, deconv: nn.ConvTranspose2d) -> Tensor:
    """``relu(deconv(x))`` of a 2×2 deconvolution of stride 2: (B, H, W, 2, 2, hidden)."""
    batch, channels, height, width = x.shape
    hidden = deconv.out_channels
    assert deconv.bias is not None
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    to_four = deconv.weight.permute(0, 2, 3, 1).reshape(channels, 4 * hidden)
    doubled = torch.addmm(deconv.bias.repeat(4), pixels, to_four).relu_()
    return doubled.view(batch, height, width, 2, 2, hidden)


def _predicted(doubled: Tensor, predictor: nn.Conv2d) -> Tensor:
    """The 1×1 ``predictor`` of (…, hidden): (…, classes)."""
    assert predictor.bias is not None
    weight = _matrix(predictor.weight)
    rows = torch.addmm(predictor.bias, doubled.view(-1, weight.shape[1]), weight.t())
    return rows.view(*doubled.shape[:-1], weight.shape[0])


def _predicted_of(classes: Tensor, doubled: Tensor, predictor: nn.Conv2d) -> Tensor:
    """`_predicted` of one class for each region: (…, 1)."""
    assert predictor.bias is not None
    weight, bias = _matrix(predictor.weight)[classes], predictor.bias[classes]
    rows = torch.baddbmm(bias[:, None, None], doubled.flatten(1, -2), weight[:, :, None])
    return rows.view(*doubled.shape[:-1], 1)


def _in_image_order(by_place: Tensor) -> Tensor:
    """(B, H, W, 2, 2, K) as (B, K, 2H, 2W)."""
    batch, height, width, _, _, channels = by_place.shape
    by_channel = by_place.permute(0, 5, 1, 3, 2, 4)
    return by_channel.reshape(batch, channels, 2 * height, 2 * width)


def _matrix(weight: Tensor) -> Tensor:
    """A 1×1 kernel (K, C, 1, 1) as (K, C), by the way that gives its gradient the same strides.

    Those of sides of length 1 differ between memory formats, and DistributedDataParallel warns.
    """
    if weight.stride(3) == 1:
        return weight.flatten(1)
    return weight.permute(0, 2, 3, 1).flatten(1)
