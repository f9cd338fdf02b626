"""Our detectors and torchvision's, made to do the same work.

Both have the same backbone with the same weights, whose frozen norms are set so that features are
of order one, classifiers whose scores spread as those of trained models do, and in training as
many proposals that hit something: a random detector would find nothing, and half of the work would
be missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2_engine import model_zoo
from d2_modeling import build_model
from d2_modeling.weights import convert_torchvision_resnet, match_weights
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

CLASSES = 80
CONFIGS = {
    "mask_rcnn": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
}
# Proposals that hit an object, of each image: more than the 128 that training samples at most.
_HITS = 160
# What torchvision's detectors subtract from pixels of 0 to 1, and divide them by.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Scores of an image that pass the threshold, before suppression.
_CANDIDATES = {"mask_rcnn": 1_000, "retinanet": 5_000}
_THRESHOLD = 0.05
# Where the last layer is, in ours and in torchvision's.
_CLASSIFIERS = {
    "mask_rcnn": ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.cls_score"),
    "retinanet": ("head.cls_score", "head.classification_head.cls_logits"),
}


@dataclass(frozen=True)
class Scale:
    """How large models and pictures are."""

    depth: int = 50
    image: tuple[int, int] = (800, 1216)
    objects: int = 8
    proposals: int = 1_000
    sampled: int = 512


FULL = Scale()
TINY = Scale(depth=18, image=(64, 96), objects=2, proposals=20, sampled=8)


@dataclass
class Detector:
    """A detector, whoever wrote it.

    Attributes:
        model: the module.
        predict: takes pictures, returns what the model finds in each.
        losses: takes pictures, returns the sum of the losses.
        count: how many detections an output has.
    """

    model: nn.Module
    predict: Callable[[list[dict[str, Any]]], list[Any]]
    losses: Callable[[list[dict[str, Any]]], Tensor]
    count: Callable[[Any], int]


def pictures(count: int, scale: Scale, device: torch.device) -> list[dict[str, Any]]:
    """Pictures with outlined objects, as our models and torchvision's take them, on the device.

    Keys: ``image`` (uint8), ``pixels`` (the same from 0 to 1), ``instances`` (ours, with
    polygons), ``target`` (torchvision's, with bitmaps), ``hits`` (boxes near the objects).
    """
    random = torch.Generator().manual_seed(0)
    height, width = scale.image
    made = []
    for _ in range(count):
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=random)
        sides = (torch.rand(scale.objects, 2, generator=random) * 0.35 + 0.1) * height
        corner = torch.rand(scale.objects, 2, generator=random) * (
            torch.tensor([float(width), height]) - sides
        )
        boxes = torch.cat([corner, corner + sides], 1)
        classes = torch.randint(0, CLASSES, (scale.objects,), generator=random)
        outlines = PolygonMasks([[_ellipse(box)] for box in boxes.tolist()])
        bitmaps = BitMasks.from_polygon_masks(outlines, height, width).tensor
        instances = Instances(
            (height, width), gt_boxes=Boxes(boxes), gt_classes=classes, gt_masks=outlines
        )
        jitter = (torch.rand(_HITS, 4, generator=random) - 0.5) * 0.16
        chosen = torch.arange(_HITS) % scale.objects
        hits = boxes[chosen] + jitter * sides[chosen].repeat(1, 2)
        target = {"boxes": boxes, "labels": classes, "masks": bitmaps.to(torch.uint8)}
        made.append(
            {
                "image": image.to(device),
                "pixels": (image / 255).to(device),
                "instances": instances.to(device),
                "target": {name: value.to(device) for name, value in target.items()},
                "hits": hits.to(device),
                "height": height,
                "width": width,
            }
        )
    return made


def _ellipse(box: list[float]) -> np.ndarray:
    x1, y1, x2, y2 = box
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x = (x1 + x2) / 2 + np.cos(angles) * (x2 - x1) / 2
    y = (y1 + y2) / 2 + np.sin(angles) * (y2 - y1) / 2
    return np.stack([x, y], 1).reshape(-1)


def build(
    name: str, scale: Scale, device: torch.device, vision: ModuleType | None
) -> tuple[Detector, Detector | None]:
    """Our detector and torchvision's, in float32 on the device.

    Args:
        name: ``"mask_rcnn"`` or ``"retinanet"``.
        scale: their size.
        device: where they are.
        vision: the torchvision package; without it there is no second detector.
    """
    torch.manual_seed(0)
    batch = pictures(1, scale, device)
    ours = _ours(name, scale, device)
    theirs = None if vision is None else _theirs(name, scale, device)
    if theirs is not None:
        body = theirs.model.backbone.body
        _normalize_features(body, batch)
        matched = match_weights(
            ours.model.backbone.bottom_up.state_dict(),
            convert_torchvision_resnet(body.state_dict()),
        )
        if not matched.complete:
            raise RuntimeError(f"backbones differ: {matched.report()}")
        ours.model.backbone.bottom_up.load_state_dict(matched.state_dict)
    for detector, path in zip((ours, theirs), _CLASSIFIERS[name], strict=True):
        if detector is not None:
            _spread_scores(detector, detector.model.get_submodule(path), batch, name)
    return ours, theirs


def _ours(name: str, scale: Scale, device: torch.device) -> Detector:
    cfg = model_zoo.get_config(CONFIGS[name])
    cfg.MODEL.DEVICE = str(device)
    cfg.MODEL.RESNETS.DEPTH = scale.depth
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = scale.proposals
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = scale.sampled
    # As torchvision has it.
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.PIXEL_MEAN = [255 * mean for mean in _MEAN]
    cfg.MODEL.PIXEL_STD = [255 * deviation for deviation in _DEVIATION]
    if scale.depth < 50:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    model = build_model(cfg)
    hits: list[Tensor] = []
    if name == "mask_rcnn":
        model.proposal_generator.register_forward_hook(
            lambda module, args, out: _hit(hits, [p.proposal_boxes.tensor for p in out[0]])
        )

    def losses(batch: list[dict[str, Any]]) -> Tensor:
        hits[:] = [entry["hits"] for entry in batch]
        return sum(model(inputs(batch, "instances")).values())

    def inputs(batch: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
        return [
            {key: entry[key] for key in ("image", "height", "width", *names)} for entry in batch
        ]

    return Detector(
        model,
        predict=lambda batch: [output["instances"] for output in model(inputs(batch))],
        losses=losses,
        count=len,
    )


def _theirs(name: str, scale: Scale, device: torch.device) -> Detector:
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    resnet = {"backbone_name": f"resnet{scale.depth}", "weights": None, "trainable_layers": 3}
    if name == "mask_rcnn":
        model = detection.MaskRCNN(
            resnet_fpn_backbone(**resnet),
            CLASSES + 1,
            rpn_post_nms_top_n_train=scale.proposals,
            rpn_post_nms_top_n_test=scale.proposals,
            box_batch_size_per_image=scale.sampled,
        )
    else:
        widest = 2048 if scale.depth >= 50 else 512
        backbone = resnet_fpn_backbone(
            **resnet, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(widest, 256)
        )
        model = detection.RetinaNet(
            backbone,
            CLASSES,
            anchor_generator=_three_anchors_per_octave(),
            detections_per_img=100,
        )
    model = model.to(device)
    # Pictures come in their final size, for both.
    model.transform.resize = lambda image, target=None: (image, target)
    first = 1 if name == "mask_rcnn" else 0
    hits: list[Tensor] = []
    if name == "mask_rcnn":
        model.rpn.register_forward_hook(lambda module, args, out: _hit(hits, out[0]))

    def losses(batch: list[dict[str, Any]]) -> Tensor:
        hits[:] = [entry["hits"] for entry in batch]
        targets = [
            {**entry["target"], "labels": entry["target"]["labels"] + first} for entry in batch
        ]
        return sum(model([entry["pixels"] for entry in batch], targets).values())

    return Detector(
        model,
        predict=lambda batch: model([entry["pixels"] for entry in batch]),
        losses=losses,
        count=lambda output: len(output["scores"]),
    )


def _hit(hits: list[Tensor], proposals: list[Tensor]) -> None:
    """Put boxes near the objects in the place of proposals that training gets."""
    for near, boxes in zip(hits, proposals, strict=False):
        count = min(len(near), len(boxes))
        boxes[:count] = near[:count]
    hits.clear()


def _three_anchors_per_octave() -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple(tuple(int(x * 2 ** (k / 3)) for k in range(3)) for x in (32, 64, 128, 256, 512))
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


@torch.no_grad()
def _normalize_features(body: nn.Module, batch: list[dict[str, Any]]) -> None:
    """Set the frozen norms of a ResNet from what reaches them."""

    def take_statistics(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(arguments[0].float(), dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [m for m in body.modules() if type(m).__name__ == "FrozenBatchNorm2d"]
    hooks = [norm.register_forward_pre_hook(take_statistics) for norm in norms]
    pixels = torch.stack([entry["pixels"] for entry in batch])
    mean, deviation = (pixels.new_tensor(v).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
    body((pixels - mean) / deviation)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def _spread_scores(detector: Detector, layer: Any, batch: list[dict[str, Any]], name: str) -> None:
    """Draw the weights of the classifier so that as many scores pass as in a trained model."""
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    logits: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, args, out: logits.append(out.float()))
    detector.model.eval()
    detector.predict(batch)
    hook.remove()
    together = torch.cat([each.flatten() for each in logits])
    unit = 1 / float(together.std())
    layer.weight.mul_(unit)
    wanted = _CANDIDATES[name] * len(batch)
    if name == "mask_rcnn":
        layer.weight.mul_(_sharpness(unit * torch.cat(logits), wanted))
    else:
        lowest = together.topk(min(wanted, together.numel() // 100)).values[-1]
        layer.bias.fill_(math.log(_THRESHOLD / (1 - _THRESHOLD)) - unit * float(lowest))


def _sharpness(logits: Tensor, wanted: int) -> float:
    """The factor under which a number of the softmax's (N, K) scores pass the threshold."""
    low, high = 0.0, 4.0
    for _ in range(20):
        middle = (low + high) / 2
        passing = int((torch.softmax(middle * logits, 1) > _THRESHOLD).sum())
        low, high = (middle, high) if passing < wanted else (low, middle)
    return high
