"""The region proposal network for rotated boxes."""

from __future__ import annotations

from ..box_regression import Box2BoxTransformRotated
from .build import PROPOSAL_GENERATOR_REGISTRY
from .rpn import RPN


@PROPOSAL_GENERATOR_REGISTRY.register()
class RRPN(RPN):
    """Finds rotated boxes that may hold an object.

    The same as `RPN`, but its anchor generator makes rotated anchors, its head predicts five
    values per box, and its transform is a `Box2BoxTransformRotated`.

    Source: Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation Proposals", 2018.
    """

    _transform_class = Box2BoxTransformRotated
