"""Weights of any known origin brought to the names of a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .caffe2_detection_names import convert_caffe2_detector, is_caffe2_detector
from .caffe2_names import is_caffe2_backbone
from .matching import WeightMatch, match_weights
from .state_dicts import tensors_of
from .torchvision_detection_names import convert_torchvision_detector, is_torchvision_detector
from .torchvision_names import convert_torchvision_resnet, is_torchvision_resnet

# Buffers that used to be stored; models derive them from their configuration.
_DERIVED = ("anchor_generator.cell_anchors", "pixel_mean", "pixel_std")
_LEAST_SHARE = 0.5
"""Of a network's weights that have to lie under one module for it to be that network."""


def match_checkpoint(
    model_state: Mapping[str, Tensor], weights: Mapping[str, Any], *, by_suffix: bool = False
) -> WeightMatch:
    """Find for each weight of a model its value in a file of any known origin.

    Those are files of d2 and detectron2, ImageNet networks and detectors of Caffe2, ResNets and
    detectors of torchvision, and bare networks (of torchvision, of timm, of a project) whose
    names a part of the model has.

    Args:
        model_state: the model's ``state_dict()``.
        weights: tensors or arrays by name, as `read_checkpoint` gives them.
        by_suffix: see `match_weights`.

    Returns:
        The values that fit, and what does not.

    Raises:
        ValueError: if a value is no tensor, or one fits several weights of the model.
    """
    if is_caffe2_detector(weights) or is_caffe2_backbone(weights):
        # Which gives names of no detector those of a backbone.
        arrays = {name: value for name, value in weights.items() if not isinstance(value, str)}
        weights, by_suffix = convert_caffe2_detector(arrays), True
    tensors = {
        name: value
        for name, value in tensors_of(weights).items()
        if not any(derived in name for derived in _DERIVED)
    }
    if by_suffix:
        return match_weights(model_state, tensors, by_suffix=True)
    for names in (tensors, _flattened(tensors)):
        prefix = _place_of_network(model_state, names)
        if prefix is not None:
            return match_weights(model_state, {f"{prefix}{n}": v for n, v in names.items()})
    if is_torchvision_detector(tensors):
        return match_weights(model_state, convert_torchvision_detector(tensors))
    if is_torchvision_resnet(tensors):
        return match_weights(model_state, convert_torchvision_resnet(tensors), by_suffix=True)
    return match_weights(model_state, tensors)


def _place_of_network(model_names: Iterable[str], names: Iterable[str]) -> str | None:
    """What is before most of a network's names in a model; None if the model has no such part."""
    wanted = set(names)
    found: Counter[str] = Counter()
    for name in model_names:
        ending = name
        while ending not in wanted:
            _, dot, ending = ending.partition(".")
            if not dot:
                break
        else:
            found[name.removesuffix(ending)] += 1
    (prefix, count), *_ = found.most_common(1) or [("", 0)]
    is_network = prefix and len(wanted) > 2 and count >= _LEAST_SHARE * len(wanted)
    return prefix if is_network else None


def _flattened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as timm's features have them, where the members of sequences are members of the net."""
    return {re.sub(r"^([a-z]\w*)\.(\d+)\.", r"\1_\2.", n): v for n, v in tensors.items()}
