"""Models of mmdetection under our interfaces, with small modules of the same protocol."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2_modeling import MMDetBackbone, MMDetDetector, ShapeSpec
from d2_modeling.events import EventStorage
from d2_structures import Boxes, Instances

SHAPES = [ShapeSpec(channels=2, stride=2), ShapeSpec(channels=2, stride=4)]


class Maps(nn.Module):
    """Gives two feature maps, and remembers how it was initialised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 2, stride=2)
        self.pretrained: object = "not initialised"

    def init_weights(self, pretrained: str | None = None) -> None:
        self.pretrained = pretrained

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        fine = self.conv(x) if isinstance(x, Tensor) else x[0] * 2
        return fine, nn.functional.avg_pool2d(fine, 2)


class Detector(nn.Module):
    """Remembers what it was asked, and answers in mmdetection's format."""

    def __init__(self, with_masks: bool) -> None:
        super().__init__()
        self.with_masks = with_masks
        self.weight = nn.Parameter(torch.ones(1))
        self.asked: dict[str, Any] = {}

    def forward_train(self, images: Tensor, metas: Any, boxes: Any, labels: Any) -> dict[str, Any]:
        self.asked = {"images": images, "metas": metas, "boxes": boxes, "labels": labels}
        return {
            "loss_bbox": [self.weight * torch.ones(2), self.weight * 3],
            "loss_cls": self.weight.mean(),
            "acc": torch.tensor([80.0]),
        }

    def simple_test(self, images: Tensor, metas: Any, rescale: bool) -> list[Any]:
        self.asked = {"images": images, "metas": metas, "rescale": rescale}
        boxes = [
            np.array([[0, 1, 2, 3, 0.9]], np.float32),
            np.zeros((0, 5), np.float32),
            np.array([[1, 1, 4, 4, 0.5], [2, 2, 5, 5, 0.25]], np.float32),
        ]
        if not self.with_masks:
            return [boxes for _ in metas]
        mask = np.ones((8, 12), bool)
        return [(boxes, [[mask], [], [mask, ~mask]]) for _ in metas]


def detector(with_masks: bool = False) -> MMDetDetector:
    return MMDetDetector(
        Detector(with_masks), pixel_mean=[1.0, 2, 3], pixel_std=[1.0, 1, 2], size_divisibility=16
    )


def test_a_backbones_outputs_get_names_and_shapes() -> None:
    backbone = MMDetBackbone(Maps(), Maps(), pretrained_backbone="somewhere", output_shapes=SHAPES)
    assert isinstance(backbone.backbone, Maps)
    assert isinstance(backbone.neck, Maps)
    assert (backbone.backbone.pretrained, backbone.neck.pretrained) == ("somewhere", None)
    assert backbone.output_shape() == {"out0": SHAPES[0], "out1": SHAPES[1]}
    outputs = backbone(torch.randn(1, 3, 8, 8))
    assert [x.shape[2] for x in outputs.values()] == [4, 2]
    named = MMDetBackbone(Maps(), output_shapes=SHAPES, output_names=["c1", "c2"])
    assert list(named(torch.randn(1, 3, 8, 8))) == ["c1", "c2"]


def test_names_and_outputs_have_to_be_as_many_as_shapes() -> None:
    with pytest.raises(ValueError, match="1 output_names for 2 output_shapes"):
        MMDetBackbone(Maps(), output_shapes=SHAPES, output_names=["c1"])
    backbone = MMDetBackbone(Maps(), output_shapes=SHAPES[:1])
    with pytest.raises(ValueError, match="1 output_shapes, but gave 2 outputs"):
        backbone(torch.randn(1, 3, 8, 8))


def test_losses_are_summed_and_other_values_reported() -> None:
    model = detector().train()
    gt = Instances(
        (8, 12), gt_boxes=Boxes(torch.tensor([[0.0, 0, 4, 4]])), gt_classes=torch.tensor([2])
    )
    with EventStorage() as storage:
        losses = model([{"image": torch.full((3, 8, 12), 5.0), "instances": gt}])
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_bbox": 4, "loss_cls": 1}
    assert storage.latest()["acc"][0] == 80
    asked = model.detector.asked
    assert asked["images"].shape == (1, 3, 16, 16)
    assert asked["images"][0, :, 0, 0].tolist() == [4, 3, 1]
    assert asked["images"][0, :, 12, 0].tolist() == [0, 0, 0]
    assert asked["boxes"][0].tolist() == [[0, 0, 4, 4]]
    assert asked["labels"][0].tolist() == [2]
    with pytest.raises(ValueError, match="'instances'"):
        model([{"image": torch.zeros(3, 8, 12)}])


@pytest.mark.parametrize("with_masks", [False, True])
def test_results_become_instances_of_the_size_asked_for(with_masks: bool) -> None:
    model = detector(with_masks).eval()
    (output,) = model([{"image": torch.zeros(3, 8, 12), "height": 16, "width": 36}])
    found = output["instances"]
    assert found.image_size == (16, 36)
    assert found.pred_classes.tolist() == [0, 2, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.5, 0.25]))
    assert found.pred_boxes.tensor[1].tolist() == [1, 1, 4, 4]
    assert found.has("pred_masks") == with_masks
    if with_masks:
        assert found.pred_masks.shape == (3, 8, 12)
    (meta,) = model.detector.asked["metas"]
    assert meta["img_shape"] == (8, 12, 3)
    assert meta["ori_shape"] == (16, 36, 3)
    assert meta["pad_shape"] == (16, 16, 3)
    np.testing.assert_allclose(meta["scale_factor"], [1 / 3, 1 / 2, 1 / 3, 1 / 2])
    assert model.detector.asked["rescale"] is True


def test_sizes_are_asked_for_by_all_inputs_or_none() -> None:
    model = detector().eval()
    image = torch.zeros(3, 8, 12)
    model([{"image": image}])
    assert model.detector.asked["rescale"] is False
    with pytest.raises(ValueError, match="height and width"):
        model([{"image": image}, {"image": image, "height": 8, "width": 12}])


def test_a_config_needs_mmdetection() -> None:
    with pytest.raises(ImportError, match="mmdet<3"):
        MMDetBackbone({"type": "ResNet"}, output_shapes=SHAPES)
