"""What `DenseDetector` does for every detector that derives from it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.anchor_generator import DefaultAnchorGenerator
from d2_modeling.backbone import Backbone
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.dense import Candidates, DenseDetector
from d2_modeling.events import EventStorage
from d2_structures import Boxes, ImageList, Instances

K = 2
STRIDES = {"a": 4, "b": 8}


class Means(Backbone):
    """Feature maps that are averages of the picture."""

    size_divisibility = 8

    def __init__(self) -> None:
        super().__init__()
        self._out_features = list(STRIDES)
        self._out_feature_strides = dict(STRIDES)
        self._out_feature_channels = dict.fromkeys(STRIDES, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: nn.functional.avg_pool2d(x, stride) for name, stride in STRIDES.items()}


class Head(nn.Module):
    """Logits that are given, and deltas of 0: boxes are the anchors."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.outputs = outputs

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        logits = [self.scale * x[:, :K] for x in features]
        deltas = [self.scale * 0 * x[:, :1].expand(-1, 4, -1, -1) for x in features]
        return (logits, deltas, logits)[: self.outputs]


class FirstObject(DenseDetector):
    """All anchors belong to the first object of an image."""

    def label_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        count = sum(map(len, anchors))
        labels, boxes = [], []
        for gt in gt_instances:
            label = int(gt.gt_classes[0]) if len(gt) else self.num_classes
            labels.append(torch.full((count,), label))
            box = gt.gt_boxes.tensor[:1] if len(gt) else torch.zeros(1, 4)
            boxes.append(box.expand(count, 4))
        return labels, boxes

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
        *others: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        found = self.anchor_losses(anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes)
        return {
            "classes": found.classification,
            "boxes": found.regression,
            "share": found.foreground.float().mean() / found.normalizer,
        }

    def level_candidates(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, *others: Tensor
    ) -> Candidates:
        return self.best_candidates(anchors, logits.sigmoid(), deltas)


def detector(outputs: int = 2, **options: Any) -> FirstObject:
    return FirstObject(
        backbone=Means(),
        head=Head(outputs),
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[8], [16]], aspect_ratios=[1.0], strides=list(STRIDES.values())
        ),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
        num_classes=K,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        **options,
    )


def picture(*spots: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> Tensor:
    """Dark, with bright spots (class, y, x) of 4 by 4 pixels."""
    image = torch.full((3, *size), -9.0)
    for channel, y, x in spots:
        image[channel, y : y + 4, x : x + 4] = 9.0
    return image


def truth(*boxes: tuple[float, ...], label: int = 1) -> Instances:
    return Instances(
        (32, 32),
        gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
        gt_classes=torch.full((len(boxes),), label),
    )


@torch.no_grad()
def found_in(model: FirstObject, *images: Tensor, **more: int) -> list[Instances]:
    return [out["instances"] for out in model.eval()([{"image": x, **more} for x in images])]


def test_bright_spots_are_found_where_they_are() -> None:
    (found,) = found_in(detector(test_score_thresh=0.9), picture((1, 8, 12), (0, 20, 4)))
    assert sorted(found.pred_classes.tolist()) == [0, 1]
    by_class = dict(zip(found.pred_classes.tolist(), found.pred_boxes.tensor.tolist(), strict=True))
    assert by_class[1] == [10.0, 6.0, 18.0, 14.0]  # 8 pixels around the spot's centre (14, 10)
    assert by_class[0] == [2.0, 18.0, 10.0, 26.0]


def test_boxes_come_in_the_size_asked_for() -> None:
    (found,) = found_in(detector(test_score_thresh=0.9), picture((1, 8, 12)), height=64, width=16)
    assert found.image_size == (64, 16)
    assert found.pred_boxes.tensor.tolist() == [[5.0, 12.0, 9.0, 28.0]]


def test_only_so_many_detections_and_candidates_are_kept() -> None:
    spots = [(1, 0, 4 * i) for i in range(8)]
    (found,) = found_in(detector(test_score_thresh=0.9, test_nms_thresh=1.0), picture(*spots))
    assert len(found) == 8
    (found,) = found_in(
        detector(test_score_thresh=0.9, test_nms_thresh=1.0, max_detections_per_image=3),
        picture(*spots),
    )
    assert len(found) == 3
    (found,) = found_in(
        detector(test_score_thresh=0.9, test_nms_thresh=1.0, test_topk_candidates=2),
        picture(*spots),
    )
    assert len(found) == 2


def test_clipping_first_lets_boxes_at_the_border_suppress_each_other() -> None:
    """Anchors of 8 pixels from x = -2 and 2 on share 1/3 of their area, within the image 2/5."""
    spots = [(1, 8, 0), (1, 8, 4)]
    options: dict[str, Any] = {"test_score_thresh": 0.9, "test_nms_thresh": 0.36}
    (whole,) = found_in(detector(**options), picture(*spots))
    (clipped,) = found_in(detector(**options, clip_before_nms=True), picture(*spots))
    left, right = [0.0, 6.0, 6.0, 14.0], [2.0, 6.0, 10.0, 14.0]
    assert sorted(whole.pred_boxes.tensor.tolist()) == [left, right]
    assert clipped.pred_boxes.tensor.tolist() in ([left], [right])


@pytest.mark.parametrize("clip", [False, True])
def test_tensors_hold_what_instances_hold(clip: bool) -> None:
    model = detector(test_score_thresh=0.5, clip_before_nms=clip).eval()
    images = [picture((1, 8, 12), (0, 20, 0)), picture((0, 0, 28))]
    found = found_in(model, *images)
    outputs = model.predict_tensors(torch.stack(images), torch.tensor([[32, 32], [32, 32]]))
    for index, instances in enumerate(found):
        rows = outputs["batch_index"] == index
        assert torch.equal(outputs["boxes"][rows], instances.pred_boxes.tensor)
        assert torch.equal(outputs["scores"][rows], instances.scores)
        assert torch.equal(outputs["classes"][rows], instances.pred_classes)


def test_losses_are_those_of_all_anchors_over_the_running_number_of_positives() -> None:
    model = detector(initial_normalizer=50.0).train()
    anchors = 8 * 8 + 4 * 4
    with EventStorage() as storage:
        losses = model([{"image": picture(), "instances": truth((4, 4, 12, 12))}])
    normalizer = 0.9 * 50 + 0.1 * anchors
    assert model.loss_normalizer == pytest.approx(normalizer)
    assert losses["share"].item() == pytest.approx(1.0 / normalizer)
    p = torch.tensor(-9.0, dtype=torch.float64).sigmoid()
    each = -0.25 * (1 - p) ** 2 * p.log() - 0.75 * p**2 * (1 - p).log()
    assert losses["classes"].item() == pytest.approx(anchors * each.item() / normalizer, rel=1e-5)
    assert storage.latest()["num_pos_anchors"][0] == anchors
    sum(losses.values()).backward()
    assert model.head.scale.grad is not None


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_every_loss_of_boxes_can_be_chosen(kind: str) -> None:
    model = detector(box_reg_loss_type=kind).train()
    losses = model([{"image": picture(), "instances": truth((4, 4, 13, 12))}])
    assert 0 < losses["boxes"] < torch.inf


def test_images_without_objects_keep_the_normalizer_above_zero() -> None:
    model = detector(initial_normalizer=1.0).train()
    for _ in range(50):
        losses = model([{"image": picture(), "instances": truth()}])
    assert model.loss_normalizer == pytest.approx(1.0)
    assert losses["boxes"] == 0


def test_the_normalizer_moves_with_the_model_and_is_no_weight() -> None:
    model = detector()
    assert list(model.state_dict()) == ["head.scale"]
    assert model.double().loss_normalizer.dtype == torch.float64


def test_all_maps_or_the_named_ones_reach_the_head() -> None:
    assert detector().head_in_features == ["a", "b"]
    assert detector(head_in_features=["b"]).head_in_features == ["b"]
    with pytest.raises(ValueError, match=r"head_in_features \['b', 'c'\]: .* only \['a', 'b'\]"):
        detector(head_in_features=["b", "c"])


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_head_with_another_number_of_outputs_is_named(outputs: int) -> None:
    with pytest.raises(ValueError, match=f"wants 2 outputs of its head.*; Head gives {outputs}"):
        found_in(detector(outputs), picture())


def test_detections_stay_in_the_network_s_size_before_post_processing() -> None:
    model = detector(test_score_thresh=0.9).eval()
    images = ImageList.from_tensors([picture((1, 8, 0))], 8)
    maps = [model.backbone(images.tensor)[name] for name in model.head_in_features]
    (found,) = model.forward_inference(images, maps, model.head(maps))
    assert found.pred_boxes.tensor.tolist() == [[-2.0, 6.0, 6.0, 14.0]]  # not clipped yet
    assert not found.scores.requires_grad
