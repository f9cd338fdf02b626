"""FCOS: targets, losses and inference."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling import ShapeSpec
from d2_modeling.backbone import Backbone
from d2_modeling.events import EventStorage
from d2_modeling.meta_arch import FCOS, FCOSHead
from d2_structures import Boxes, Instances

STRIDES = {"p3": 8, "p4": 16}


class TwoMaps(Backbone):
    """Two feature maps of strides 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self._out_features = list(STRIDES)
        self._out_feature_strides = STRIDES
        self._out_feature_channels = dict.fromkeys(STRIDES, 4)
        self.conv = nn.Conv2d(3, 4, 8, stride=8)

    @property
    def size_divisibility(self) -> int:
        return 16

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.conv(x)
        return {"p3": fine, "p4": nn.functional.avg_pool2d(fine, 2)}


@pytest.fixture
def model() -> FCOS:
    torch.manual_seed(0)
    return FCOS(
        backbone=TwoMaps(),
        head=FCOSHead(
            input_shape=[ShapeSpec(channels=4)] * 2, num_classes=3, conv_dims=[4], norm="GN"
        ),
        num_classes=3,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )


def truth(boxes: list[list[float]], classes: list[int]) -> Instances:
    return Instances(
        (64, 64),
        gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )


def anchors_of(model: FCOS) -> list[Boxes]:
    anchors: list[Boxes] = model.anchor_generator([torch.zeros(1, 4, n, n) for n in (8, 4)])
    return anchors


def expected_label(point: tuple[float, float], stride: int, gt: Instances) -> int:
    """The rule of the paper with centre sampling, for one pixel."""
    best, label = math.inf, 3
    for (x1, y1, x2, y2), cls in zip(
        gt.gt_boxes.tensor.tolist(), gt.gt_classes.tolist(), strict=True
    ):
        sides = (point[0] - x1, point[1] - y1, x2 - point[0], y2 - point[1])
        offset = max(abs(point[0] - (x1 + x2) / 2), abs(point[1] - (y1 + y2) / 2))
        fits = max(sides) < 64 if stride == 8 else max(sides) > 64
        area = (x2 - x1) * (y2 - y1)
        if min(sides) > 0 and offset < 1.5 * stride and fits and area < best:
            best, label = area, cls
    return label


def test_pixels_near_the_centre_of_a_fitting_box_are_foreground(model: FCOS) -> None:
    gt = truth([[4, 4, 40, 44], [16, 16, 34, 30], [-40, -40, 100, 100]], [0, 1, 2])
    anchors = anchors_of(model)
    (labels,), (boxes,) = model.label_anchors(anchors, [gt])
    index = 0
    for level, stride in zip(anchors, STRIDES.values(), strict=True):
        for x, y in level.get_centers().tolist():
            wanted = expected_label((x, y), stride, gt)
            assert labels[index] == wanted
            if wanted < 3:
                assert torch.equal(boxes[index], gt.gt_boxes.tensor[wanted])
            index += 1
    assert {0, 1, 2, 3} == set(labels.tolist())


def test_centreness_is_one_in_the_middle_and_less_outwards(model: FCOS) -> None:
    anchors = anchors_of(model)
    centres = torch.cat([level.get_centers() for level in anchors])
    gt = torch.cat([centres - torch.tensor([2.0, 8]), centres + torch.tensor([6.0, 8])], dim=1)
    gt[0] = torch.cat([centres[0] - 5, centres[0] + 5])
    targets = model.compute_ctrness_targets(anchors, [gt])
    torch.testing.assert_close(targets[0, 0], torch.tensor(1.0))
    torch.testing.assert_close(targets[0, 1], torch.tensor(math.sqrt(2 / 6)))


@pytest.mark.parametrize("boxes", [[], [[4.0, 4, 40, 44]]])
def test_every_parameter_is_trained(model: FCOS, boxes: list[list[float]]) -> None:
    image = torch.rand(3, 64, 64)
    with EventStorage() as storage:
        losses = model.train()([{"image": image, "instances": truth(boxes, [0] * len(boxes))}])
    assert set(losses) == {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    count = storage.latest()["num_pos_anchors"][0]
    assert model.loss_normalizer == pytest.approx(0.9 * 300 + 0.1 * max(count, 1))


def test_losses_are_those_of_the_foreground(model: FCOS) -> None:
    gt = truth([[16, 16, 34, 30]], [1])
    anchors = anchors_of(model)
    labels, boxes = model.label_anchors(anchors, [gt])
    count = len(labels[0])
    sizes = [len(level) for level in anchors]
    perfect = model.box2box_transform.get_deltas(Boxes.cat(anchors).tensor, boxes[0])
    centreness = torch.zeros(1, count, 1)
    losses = model.losses(
        anchors,
        torch.full((1, count, 3), -20.0).split(sizes, dim=1),
        labels,
        perfect[None].split(sizes, dim=1),
        boxes,
        centreness.split(sizes, dim=1),
    )
    num_foreground = int((labels[0] != 3).sum())
    normalizer = 0.9 * 300 + 0.1 * num_foreground
    assert losses["loss_fcos_loc"].item() == pytest.approx(0.0, abs=1e-5)
    assert losses["loss_fcos_ctr"].item() == pytest.approx(
        num_foreground * math.log(2) / normalizer, rel=1e-5
    )
    assert losses["loss_fcos_cls"].item() == pytest.approx(
        num_foreground * 0.25 * 20 / normalizer, rel=1e-3
    )


def test_scores_are_geometric_means_and_sizes_those_asked_for(model: FCOS) -> None:
    head: Any = model.head
    nn.init.zeros_(head.cls_score.weight)
    head.cls_score.bias.data = torch.tensor([0.0, -9.0, -9.0])
    nn.init.zeros_(head.ctrness.weight)
    head.ctrness.bias.data.fill_(1.0)
    nn.init.constant_(head.bbox_pred.bias, 1.0)
    with torch.no_grad():
        (output,) = model.eval()([{"image": torch.rand(3, 64, 64), "height": 128, "width": 64}])
    found = output["instances"]
    assert len(found) > 0
    expected = torch.tensor(1.0).sigmoid().mul(0.5).sqrt()
    torch.testing.assert_close(found.scores, expected.expand(len(found)))
    assert found.pred_classes.tolist() == [0] * len(found)
    assert found.image_size == (128, 64)


def test_the_model_moves_and_names_missing_features(model: FCOS) -> None:
    assert model.to("meta").device.type == "meta"
    with pytest.raises(ValueError, match="gives only"):
        FCOS(
            backbone=TwoMaps(),
            head=nn.Identity(),
            head_in_features=["p7"],
            num_classes=1,
            pixel_mean=[0.0],
            pixel_std=[1.0],
        )


def test_anchors_are_squares_of_the_stride_in_the_middle_of_pixels(model: FCOS) -> None:
    for level, stride in zip(anchors_of(model), STRIDES.values(), strict=True):
        sides = level.tensor[:, 2:] - level.tensor[:, :2]
        assert (sides == stride).all()
        assert level.get_centers()[0].tolist() == [stride / 2, stride / 2]
        assert level.get_centers()[1].tolist() == [stride * 1.5, stride / 2]


@pytest.mark.parametrize(("radius", "foreground"), [(0.3, 0), (0.6, 4), (1.5, 4), (1.6, 16)])
def test_the_radius_bounds_how_far_from_the_centre_pixels_are_foreground(
    model: FCOS, radius: float, foreground: int
) -> None:
    """The centre is a corner of pixels: half a stride from four, one and a half from twelve."""
    model.center_sampling_radius = radius
    (labels,), _ = model.label_anchors(anchors_of(model)[:1], [truth([[8, 8, 40, 40]], [2])])
    assert int((labels == 2).sum()) == foreground
    assert set(labels.tolist()) <= {2, 3}


def test_what_is_given_takes_the_place_of_what_is_made() -> None:
    anchors, transform = nn.Identity(), object()
    given: dict[str, Any] = {"anchor_generator": anchors, "box2box_transform": transform}
    fcos = FCOS(
        backbone=TwoMaps(),
        head=nn.Identity(),
        head_in_features=["p4"],
        num_classes=3,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        center_sampling_radius=2.5,
        box_reg_loss_type="smooth_l1",
        test_topk_candidates=5,
        **given,
    )
    assert fcos.anchor_generator is anchors
    assert fcos.box2box_transform is transform
    assert fcos.head_in_features == ["p4"]
    assert (fcos.center_sampling_radius, fcos.box_reg_loss_type) == (2.5, "smooth_l1")
    assert (fcos.test_topk_candidates, fcos.test_score_thresh) == (5, 0.2)
    with pytest.raises(TypeError, match="num_anchors"):
        FCOSHead(input_shape=[ShapeSpec(channels=4)], num_classes=3, num_anchors=2, conv_dims=[4])


def test_centreness_of_pixels_outside_of_their_box_is_zero(model: FCOS) -> None:
    anchors = anchors_of(model)
    count = sum(map(len, anchors))
    far = torch.tensor([[500.0, 500, 600, 600]]).expand(count, 4)
    touching = torch.cat([level.get_centers() for level in anchors])
    touching = torch.cat([touching, touching + 9], dim=1)
    targets = model.compute_ctrness_targets(anchors, [far, touching])
    assert targets.shape == (2, count)
    assert not targets.any()
    assert not targets.requires_grad
