"""The registries of proposal generators and of their heads, and how configs choose from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from d2_config import CfgNode
from d2_config.registry import Registry

from ..layers import ShapeSpec

PROPOSAL_GENERATOR_REGISTRY: Registry[Any] = Registry("PROPOSAL_GENERATOR")
"""Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module`` that find proposals."""

RPN_HEAD_REGISTRY: Registry[Any] = Registry("RPN_HEAD")
"""Callables ``(cfg, input_shape: list[ShapeSpec]) -> nn.Module`` that score anchors."""


def build_proposal_generator(
    cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]
) -> nn.Module | None:
    """Build the proposal generator that ``cfg.MODEL.PROPOSAL_GENERATOR.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shapes of the backbone's feature maps.

    Returns:
        None for ``"PrecomputedProposals"``: the model's inputs bring their proposals.

    Raises:
        KeyError: if no generator of that name is registered.
    """
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == "PrecomputedProposals":
        return None
    generator: nn.Module = PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape)
    return generator


def build_rpn_head(cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> nn.Module:
    """Build the RPN head that ``cfg.MODEL.RPN.HEAD_NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shape of each feature map that the head looks at.

    Raises:
        KeyError: if no head of that name is registered.
    """
    head: nn.Module = RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)
    return head
