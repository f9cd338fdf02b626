"""Heads compile into one graph each, and give what they gave."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling import ShapeSpec
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.meta_arch import FCOSHead, RetinaNetHead
from d2_modeling.meta_arch.sem_seg_head import SemSegFPNHead
from d2_modeling.proposal_generator import StandardRPNHead
from d2_modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
)

SHAPE = ShapeSpec(channels=8, height=7, width=7, stride=4)


def levels() -> list[Tensor]:
    return [torch.randn(2, 8, 16, 24), torch.randn(2, 8, 8, 12)]


def regions() -> Tensor:
    return torch.randn(5, 8, 7, 7)


def box_predictor() -> nn.Module:
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    return FastRCNNOutputLayers(SHAPE, box2box_transform=transform, num_classes=3)


def keypoint_head() -> nn.Module:
    return KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=5, conv_dims=[8])


def segmentation_head() -> nn.Module:
    shapes = {name: ShapeSpec(channels=8, stride=stride) for name, stride in (("p2", 4), ("p3", 8))}
    return SemSegFPNHead(shapes, num_classes=3, conv_dims=8, common_stride=4, norm="")


HEADS: list[tuple[Callable[[], Any], str, Callable[[], Any]]] = [
    (lambda: StandardRPNHead(in_channels=8, num_anchors=3), "forward", levels),
    (
        lambda: RetinaNetHead(
            input_shape=[SHAPE] * 2, num_classes=3, num_anchors=9, conv_dims=[8], norm="GN"
        ),
        "forward",
        levels,
    ),
    (
        lambda: FCOSHead(input_shape=[SHAPE] * 2, num_classes=3, conv_dims=[8], norm="GN"),
        "forward",
        levels,
    ),
    (lambda: FastRCNNConvFCHead(SHAPE, conv_dims=[8], fc_dims=[12]), "forward", regions),
    (box_predictor, "forward", regions),
    (lambda: MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 8]), "layers", regions),
    (keypoint_head, "layers", regions),
    (segmentation_head, "layers", lambda: dict(zip(("p2", "p3"), levels(), strict=True))),
]


@pytest.fixture(autouse=True)
def without_graphs_of_other_tests() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(("build", "method", "inputs"), HEADS)
def test_a_head_is_one_graph(
    build: Callable[[], Any], method: str, inputs: Callable[[], Any]
) -> None:
    torch.manual_seed(0)
    head, x = build().eval(), inputs()
    call = getattr(head, method)
    compiled = torch.compile(call, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), call(x))
