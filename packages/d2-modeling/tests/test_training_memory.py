"""What training does not make: masks of background, and int64 copies of all scores."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2_modeling import FastRCNNOutputLayers, ShapeSpec
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.dense import dense_focal_loss
from d2_modeling.roi_heads import MaskRCNNConvUpsampleHead, select_foreground_proposals
from d2_structures import Boxes, Instances, PolygonMasks

REGIONS, CLASSES = 64, 80


class LargestInteger(TorchDispatchMode):
    """Notes the number of elements of the largest int64 tensor that an operator returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(one, Tensor) and one.dtype == torch.int64:
                self.elements = max(self.elements, one.numel())
        return out


def test_the_loss_of_independent_classes_makes_no_int64_one_hot() -> None:
    predictor = FastRCNNOutputLayers(
        ShapeSpec(channels=4),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        num_classes=CLASSES,
        use_sigmoid_ce=True,
    )
    scores = torch.randn(REGIONS, CLASSES + 1, requires_grad=True)
    classes = torch.arange(REGIONS) % (CLASSES + 1)
    with LargestInteger() as largest:
        loss = predictor.sigmoid_cross_entropy_loss(scores, classes)
    assert largest.elements <= REGIONS
    target = torch.nn.functional.one_hot(classes, CLASSES + 1)[:, :-1].float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        scores[:, :-1], target, reduction="sum"
    )
    torch.testing.assert_close(loss, expected / REGIONS)


def test_the_focal_loss_makes_no_int64_one_hot() -> None:
    logits = torch.randn(2, REGIONS, CLASSES, requires_grad=True)
    labels = torch.arange(2 * REGIONS).view(2, -1) % (CLASSES + 2) - 1
    with LargestInteger() as largest:
        dense_focal_loss(logits, labels, alpha=0.25, gamma=2.0).backward()
    assert largest.elements <= 2 * REGIONS


def test_only_masks_of_foreground_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    plain = PolygonMasks.crop_and_resize

    def crop_and_resize(masks: PolygonMasks, boxes: Tensor, size: int) -> Tensor:
        drawn.append(len(boxes))
        return plain(masks, boxes, size)

    monkeypatch.setattr(PolygonMasks, "crop_and_resize", crop_and_resize)
    classes = torch.full((REGIONS,), CLASSES)
    classes[:5] = 3
    square = [torch.tensor([1.0, 1, 9, 1, 9, 9, 1, 9]).numpy()]
    image = Instances(
        (20, 20),
        proposal_boxes=Boxes(torch.tensor([[0.0, 0, 10, 10]]).repeat(REGIONS, 1)),
        gt_classes=classes,
        gt_masks=PolygonMasks([square] * REGIONS),
    )
    (foreground,), _ = select_foreground_proposals([image], CLASSES)
    head = MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=4, height=7, width=7), num_classes=CLASSES, conv_dims=[4]
    )
    losses = head.losses(torch.randn(len(foreground), 4, 7, 7), [foreground])
    assert float(losses["loss_mask"].detach()) > 0
    assert drawn == [5]
