"""Weights of torchvision's detectors under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .torchvision_names import convert_torchvision_resnet

_EPS = 1e-5
"""What our frozen norms add to the variance."""
_RATIOS = 3
"""Aspect ratios of the anchors of torchvision's RetinaNet."""

_RENAMED = [
    (r"backbone\.fpn\.extra_blocks\.(p\d\.\w+)", r"backbone.top_block.\1"),
    (r"rpn\.head\.conv\.(?:0\.0\.)?(\w+)", r"proposal_generator.rpn_head.conv.\1"),
    (r"rpn\.head\.cls_logits\.(\w+)", r"proposal_generator.rpn_head.objectness_logits.\1"),
    (r"rpn\.head\.bbox_pred\.(\w+)", r"proposal_generator.rpn_head.anchor_deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(\w+)", r"roi_heads.box_head.fc1.\1"),
    (r"roi_heads\.box_head\.fc7\.(\w+)", r"roi_heads.box_head.fc2.\1"),
    (r"(roi_heads\.box_predictor\.(?:cls_score|bbox_pred)\.\w+)", r"\1"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.(\w+)", r"roi_heads.mask_head.mask_fcn\1.\2"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(\w+)", r"roi_heads.mask_head.deconv.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(\w+)", r"roi_heads.mask_head.predictor.\1"),
    (
        r"roi_heads\.keypoint_predictor\.kps_score_lowres\.(\w+)",
        r"roi_heads.keypoint_head.score_lowres.\1",
    ),
    (r"head\.classification_head\.cls_logits\.(\w+)", r"head.cls_score.\1"),
    (r"head\.regression_head\.bbox_reg\.(\w+)", r"head.bbox_pred.\1"),
    (r"head\.regression_head\.bbox_ctrness\.(\w+)", r"head.ctrness.\1"),
]
_NUMBERED = {
    r"roi_heads\.mask_head\.(\d+)\.0\.(\w+)": ("roi_heads.mask_head.mask_fcn", 1, 1),
    r"roi_heads\.keypoint_head\.(\d+)\.(\w+)": ("roi_heads.keypoint_head.conv_fcn", 0.5, 1),
    r"head\.classification_head\.conv\.(\d+)\.0\.(\w+)": ("head.cls_subnet.", 2, 0),
    r"head\.regression_head\.conv\.(\d+)\.0\.(\w+)": ("head.bbox_subnet.", 2, 0),
    r"head\.classification_head\.conv\.(\d+)\.(\w+)": ("head.cls_subnet.", 1, 0),
    r"head\.regression_head\.conv\.(\d+)\.(\w+)": ("head.bbox_subnet.", 1, 0),
}
"""Pattern of names with a number -> what is before ours, and how the number becomes ours."""

_BODY = "backbone.body."
_FPN = re.compile(r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(?:0\.)?(\w+)")


def is_torchvision_detector(state_dict: Mapping[str, object]) -> bool:
    """Whether the names are those of a detector of torchvision with a pyramid on a ResNet."""
    return f"{_BODY}layer1.0.conv1.weight" in state_dict


def convert_torchvision_detector(
    state_dict: Mapping[str, Tensor], *, norm_eps: float | None = None
) -> dict[str, Tensor]:
    """Rename the weights of torchvision's Faster, Mask and Keypoint R-CNN, RetinaNet and FCOS.

    Those are the models called ``…_resnet50_fpn``, or with another ResNet. Classes lose the one
    that stands for background: torchvision's label k is our class k - 1, and our background is
    the last score of R-CNN models. Anchors of RetinaNet come in our order: sizes, then ratios.
    The norms' epsilon becomes part of their variances.

    Args:
        state_dict: of a detector in ``torchvision.models.detection``.
        norm_eps: epsilon of the backbone's norms. By default that of the weights that torchvision
            publishes: 0, and 1e-5 for FCOS. A model made without weights has 1e-5.

    Returns:
        Tensors by the names of `GeneralizedRCNN`, `RetinaNet` or `FCOS`.

    Raises:
        ValueError: if a name is not one of those models, such as one of the second version.
    """
    if norm_eps is None:
        norm_eps = _EPS if any("bbox_ctrness" in name for name in state_dict) else 0.0
    body = {n.removeprefix(_BODY): v for n, v in state_dict.items() if n.startswith(_BODY)}
    converted = {
        f"backbone.bottom_up.{name}": value + (norm_eps - _EPS)
        if name.endswith("running_var")
        else value
        for name, value in convert_torchvision_resnet(body).items()
    }
    others = {n: v for n, v in state_dict.items() if not n.startswith(_BODY)}
    levels = {match[2] for name in others if (match := _FPN.fullmatch(name))}
    finest = 6 - len(levels)
    for name, value in others.items():
        if match := _FPN.fullmatch(name):
            kind = {"inner": "lateral", "layer": "output"}[match[1]]
            converted[f"backbone.fpn_{kind}{finest + int(match[2])}.{match[3]}"] = value
        else:
            converted[_converted(name)] = value
    _move_background(converted)
    _order_anchors(converted)
    return converted


def _converted(name: str) -> str:
    for pattern, ours in _RENAMED:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    for pattern, (before, factor, first) in _NUMBERED.items():
        if match := re.fullmatch(pattern, name):
            return f"{before}{int(int(match[1]) * factor) + first}.{match[2]}"
    raise ValueError(
        f"{name!r} is not the name of a weight in torchvision's detectors of version 1: "
        "fasterrcnn, maskrcnn, keypointrcnn, retinanet and fcos with a ResNet and a pyramid"
    )


def _move_background(weights: dict[str, Tensor]) -> None:
    """Our last score of a region is background, and nothing else knows that class."""
    for leaf in ("weight", "bias"):
        scores = f"roi_heads.box_predictor.cls_score.{leaf}"
        if scores in weights:
            weights[scores] = weights[scores].roll(-1, dims=0)
        for name, rows in (
            (f"roi_heads.box_predictor.bbox_pred.{leaf}", 4),
            (f"roi_heads.mask_head.predictor.{leaf}", 1),
        ):
            if name in weights:
                weights[name] = weights[name][rows:]


def _order_anchors(weights: dict[str, Tensor]) -> None:
    """Sort the predictions of dense heads by anchor, and drop the class of background."""
    if "head.bbox_pred.weight" not in weights:
        return
    num_anchors = len(weights["head.bbox_pred.weight"]) // 4
    for kind, first in (("cls_score", 1), ("bbox_pred", 0)):
        for leaf in ("weight", "bias"):
            name = f"head.{kind}.{leaf}"
            by_anchor = weights[name].unflatten(0, (num_anchors, -1))[:, first:]
            if num_anchors > 1:
                by_ratio = by_anchor.unflatten(0, (_RATIOS, -1))
                by_anchor = by_ratio.transpose(0, 1).flatten(0, 1)
            weights[name] = by_anchor.flatten(0, 1).clone(memory_format=torch.contiguous_format)
