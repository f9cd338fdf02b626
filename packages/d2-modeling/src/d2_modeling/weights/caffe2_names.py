"""Weights of Caffe2's ImageNet networks under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_LAYERS = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
_LEAVES = {"w": "weight", "b": "bias"}
_NORM_LEAVES = {
    "s": "weight",
    "gamma": "weight",
    "b": "bias",
    "beta": "bias",
    "rm": "running_mean",
    "running_mean": "running_mean",
    "riv": "running_var",
    "running_var": "running_var",
}
_BLOCK = re.compile(r"res(\d)_(\d+)_(branch1|branch2[abc])_(?:(?:bn|gn)_(\w+)|(w|b))")
_STEM = re.compile(r"(?:conv1_(w|b)|(?:res_)?conv1_(?:bn|gn)_(\w+))")
_CLASSIFIER = re.compile(r"(?:fc1000|pred)_(w|b)")


def convert_caffe2_backbone(state_dict: Mapping[str, T]) -> dict[str, T]:
    """Rename the weights of a Caffe2 ResNet, such as ``R-50.pkl`` of the model zoo.

    ``res2_0_branch2a_w`` becomes ``res2.0.conv1.weight`` and ``res2_0_branch2a_bn_s``
    becomes ``res2.0.conv1.norm.weight``.

    Args:
        state_dict: values by Caffe2 blob name. Momentum blobs are left out.

    Returns:
        The values under new names; names that are not a ResNet's stay as they are.
    """
    return {
        _converted(name): value
        for name, value in state_dict.items()
        if not name.endswith("_momentum")
    }


def is_caffe2_backbone(state_dict: Mapping[str, object]) -> bool:
    """Whether the names are those of a Caffe2 ResNet."""
    return any(_BLOCK.fullmatch(name) for name in state_dict)


def _converted(name: str) -> str:
    if match := _BLOCK.fullmatch(name):
        stage, block, layer, norm_leaf, leaf = match.groups()
        return f"res{stage}.{block}.{_LAYERS[layer]}.{_leaf(norm_leaf, leaf)}"
    if match := _STEM.fullmatch(name):
        leaf, norm_leaf = match.groups()
        return f"stem.conv1.{_leaf(norm_leaf, leaf)}"
    if match := _CLASSIFIER.fullmatch(name):
        return f"linear.{_LEAVES[match[1]]}"
    return name


def _leaf(norm_leaf: str | None, leaf: str | None) -> str:
    if norm_leaf is not None:
        return f"norm.{_NORM_LEAVES.get(norm_leaf, norm_leaf)}"
    return _LEAVES[leaf or "w"]
