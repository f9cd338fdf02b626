"""Weights of torchvision's ResNets under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_TOP = {"conv1": "stem.conv1", "bn1": "stem.conv1.norm", "fc": "linear"}
_IN_BLOCK = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}
_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv\d|bn\d|downsample\.\d)\.(\w+)")
_OUTSIDE = re.compile(r"(conv1|bn1|fc)\.(\w+)")


def convert_torchvision_resnet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a torchvision ResNet's state dict to the names of `ResNet`.

    ``layer1.0.conv1.weight`` becomes ``res2.0.conv1.weight``, the batch norm after a
    convolution its ``norm``, ``downsample`` the ``shortcut`` and ``fc`` the ``linear``.
    The values are untouched: torchvision's networks take RGB images, divided by 255 and
    normalised, and have the stride of a bottleneck in its 3×3 convolution.

    Args:
        state_dict: of ``torchvision.models.resnet*`` or ``resnext*``, ``fc`` included or
            not.

    Returns:
        The same tensors under new names, in the same order.

    Raises:
        ValueError: if a name is not one of torchvision's ResNet.
    """
    converted = {}
    for name, value in state_dict.items():
        if match := _BLOCK.fullmatch(name):
            stage, block, layer, leaf = match.groups()
            layer = _IN_BLOCK.get(layer) or re.sub(r"bn(\d)", r"conv\1.norm", layer)
            converted[f"res{int(stage) + 1}.{block}.{layer}.{leaf}"] = value
        elif match := _OUTSIDE.fullmatch(name):
            converted[f"{_TOP[match[1]]}.{match[2]}"] = value
        else:
            raise ValueError(
                f"{name!r} is not the name of a weight in a torchvision ResNet; expected names "
                "like 'conv1.weight', 'layer1.0.bn1.bias' and 'fc.weight'"
            )
    return converted


def is_torchvision_resnet(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of a torchvision ResNet."""
    return "layer1.0.conv1.weight" in state_dict and all(
        _BLOCK.fullmatch(name) or _OUTSIDE.fullmatch(name) for name in state_dict
    )
