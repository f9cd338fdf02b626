"""Weights of Detectron's detectors, the Caffe2 system, under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .caffe2_names import convert_caffe2_backbone

_LEAF = {"w": "weight", "b": "bias", "gn_s": "norm.weight", "gn_b": "norm.bias"}
_LEAVES = r"_(w|b|gn_s|gn_b)"
_TOWERS = {"cls": "cls_subnet", "bbox": "bbox_subnet"}
_PREDICTIONS = {"cls": "cls_score", "bbox": "bbox_pred"}
_RPN = "proposal_generator.rpn_head."

_PATTERNS = {
    r"fpn_inner_res(\d)_\d+_sum(?:_lateral)?": "fpn_lateral{0}",
    r"fpn_res(\d)_\d+_sum": "fpn_output{0}",
    r"fpn_6": "top_block.p6",
    r"fpn_7": "top_block.p7",
    r"conv_rpn(?:_fpn\d)?": f"{_RPN}conv",
    r"rpn_cls_logits(?:_fpn\d)?": f"{_RPN}objectness_logits",
    r"rpn_bbox_pred(?:_fpn\d)?": f"{_RPN}anchor_deltas",
    r"fc6": "box_head.fc1",
    r"fc7": "box_head.fc2",
    r"head_conv(\d)": "box_head.conv{0}",
    r"cls_score": "box_predictor.cls_score",
    r"bbox_pred": "box_predictor.bbox_pred",
    r"_\[mask\]_fcn(\d)": "mask_head.mask_fcn{0}",
    r"conv5_mask": "mask_head.deconv",
    r"mask_fcn_logits": "mask_head.predictor",
    r"conv_fcn(\d)": "keypoint_head.conv_fcn{0}",
    r"kps_score_lowres": "keypoint_head.score_lowres",
}
_RETINANET = re.compile(r"retnet_(cls|bbox)_(?:conv_n(\d)|pred)_fpn\d" + _LEAVES)


def is_caffe2_detector(state_dict: Mapping[str, object]) -> bool:
    """Whether the names are those of a detector that Detectron trained."""
    return any(name.startswith(("conv_rpn", "retnet_", "cls_score_w")) for name in state_dict)


def convert_caffe2_detector(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the weights of a detector of Detectron, and move its background behind the classes.

    Names are the ends of ours, to be matched with ``by_suffix``: ``fpn_inner_res5_2_sum_w``
    becomes ``fpn_lateral5.weight``. There class 0 was background: its score becomes the last one,
    its boxes and its mask are left out.

    Args:
        state_dict: arrays or tensors by blob name. Momentum blobs are left out.

    Returns:
        The values under new names; names that are no detector's stay as they are.
    """
    detector: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in state_dict.items():
        if name.endswith("_momentum"):
            continue
        ours = _converted(name)
        (rest if ours is None else detector)[ours or name] = value
    for name in list(detector):
        detector[name] = _without_background(name, detector[name])
    return {**convert_caffe2_backbone(rest), **detector}


def _converted(name: str) -> str | None:
    if match := _RETINANET.fullmatch(name):
        kind, number, leaf = match.groups()
        # Convolutions and activations take turns in our towers.
        layer = _PREDICTIONS[kind] if number is None else f"{_TOWERS[kind]}.{2 * int(number)}"
        return f"head.{layer}.{_LEAF[leaf]}"
    for pattern, ours in _PATTERNS.items():
        if match := re.fullmatch(pattern + _LEAVES, name):
            return f"{ours.format(*match.groups())}.{_LEAF[match.groups()[-1]]}"
    return None


def _without_background(name: str, value: Any) -> Any:
    if name.startswith("box_predictor.cls_score."):
        return value.roll(-1, 0) if isinstance(value, Tensor) else np.roll(value, -1, axis=0)
    if name.startswith("box_predictor.bbox_pred."):
        return value[4:]
    has_background = name.startswith("mask_head.predictor.") and len(value) > 1
    return value[1:] if has_background else value
