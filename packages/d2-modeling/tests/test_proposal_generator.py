"""Region proposals."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling.anchor_generator import DefaultAnchorGenerator
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.events import EventStorage
from d2_modeling.matcher import Matcher
from d2_modeling.proposal_generator import (
    RPN,
    StandardRPNHead,
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from d2_structures import Boxes, ImageList, Instances

SIZES = [(48, 64), (40, 60)]


def build_rpn(**options: Any) -> RPN:
    settings: dict[str, Any] = {
        "in_features": ["p3", "p4"],
        "head": StandardRPNHead(in_channels=8, num_anchors=2),
        "anchor_generator": DefaultAnchorGenerator(
            sizes=[[16], [32]], aspect_ratios=[0.5, 2.0], strides=[8, 16]
        ),
        "anchor_matcher": Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        "box2box_transform": Box2BoxTransform((1, 1, 1, 1)),
        "batch_size_per_image": 16,
        "positive_fraction": 0.5,
        "pre_nms_topk": (50, 30),
        "post_nms_topk": (20, 10),
    }
    return RPN(**{**settings, **options})


def images() -> ImageList:
    return ImageList(torch.zeros(2, 3, 48, 64), SIZES)


def features(scale: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "p3": scale * torch.randn(2, 8, 6, 8, generator=generator),
        "p4": scale * torch.randn(2, 8, 3, 4, generator=generator),
    }


def ground_truth(*boxes: Sequence[Sequence[float]]) -> list[Instances]:
    return [
        Instances(size, gt_boxes=Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)))
        for size, rows in zip(SIZES, boxes, strict=True)
    ]


def test_selection_equals_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["find_top_rpn_proposals"]
    for training, wanted in golden["out"].items():
        results = find_top_rpn_proposals(
            golden["proposals"],
            golden["logits"],
            golden["image_sizes"],
            golden["nms"],
            golden["pre"],
            golden["post"],
            golden["min_size"],
            training,
        )
        for got, reference in zip(results, wanted, strict=True):
            torch.testing.assert_close(got.proposal_boxes.tensor, reference["boxes"])
            torch.testing.assert_close(got.objectness_logits, reference["logits"])


def test_the_selection_leaves_its_inputs_alone(golden_modeling: Any) -> None:
    golden = golden_modeling["find_top_rpn_proposals"]
    before = [level.clone() for level in golden["proposals"]]
    arguments = (golden["proposals"], golden["logits"], golden["image_sizes"], 0.7, 9, 9, 0, False)
    find_top_rpn_proposals(*arguments)
    assert all(torch.equal(*pair) for pair in zip(before, golden["proposals"], strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_diverged_predictions_fail_in_training_and_are_dropped_in_inference(value: float) -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 30, 30]]])
    logits = torch.tensor([[1.0, value]])
    with pytest.raises(FloatingPointError, match="training has diverged"):
        find_top_rpn_proposals([boxes], [logits], [(40, 40)], 0.7, 5, 5, 0, True)
    (result,) = find_top_rpn_proposals([boxes], [logits], [(40, 40)], 0.7, 5, 5, 0, False)
    assert result.proposal_boxes.tensor.tolist() == [[0, 0, 10, 10]]


def test_decoding_after_the_choice_equals_choosing_among_all_decoded() -> None:
    rpn = build_rpn().eval()
    maps = list(features().values())
    anchors = rpn.anchor_generator(maps)
    logits, deltas = rpn.rpn_head(maps)
    logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
    deltas = [x.unflatten(1, (2, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]
    decoded = [
        torch.stack([rpn.box2box_transform.apply_deltas(image, level.tensor) for image in d])
        for level, d in zip(anchors, deltas, strict=True)
    ]
    wanted = find_top_rpn_proposals(decoded, logits, SIZES, 0.7, 30, 10, 0, False)
    got, _ = rpn(images(), features())
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a.proposal_boxes.tensor, b.proposal_boxes.tensor)
        torch.testing.assert_close(a.objectness_logits, b.objectness_logits)


def test_proposals_lie_in_their_image_by_decreasing_score() -> None:
    proposals, losses = build_rpn(min_box_size=2.0).eval()(images(), features(5.0))
    assert losses == {}
    for image, (height, width) in zip(proposals, SIZES, strict=True):
        boxes, scores = image.proposal_boxes.tensor, image.objectness_logits
        assert 0 < len(image) <= 10
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height
        assert torch.equal(scores, scores.sort(descending=True).values)
        assert not scores.requires_grad


def test_training_labels_the_anchor_that_fits_best_even_below_the_threshold() -> None:
    rpn = build_rpn()
    anchors = rpn.anchor_generator(list(features().values()))
    labels, boxes = rpn.label_and_sample_anchors(
        anchors, ground_truth([[0, 0, 5, 5]], [[10, 10, 30, 40]])
    )
    for image_labels, image_boxes in zip(labels, boxes, strict=True):
        assert image_labels.dtype == torch.int8
        assert (image_labels == 1).sum() >= 1
        assert (image_labels >= 0).sum() <= 16
        assert image_boxes.shape == (len(image_labels), 4)


def test_images_without_objects_train_on_background_only() -> None:
    rpn = build_rpn().train()
    with EventStorage() as storage:
        _, losses = rpn(images(), features(), ground_truth([], []))
    assert storage.latest()["rpn/num_pos_anchors"][0] == 0
    assert storage.latest()["rpn/num_neg_anchors"][0] == 16
    assert losses["loss_rpn_loc"] == 0
    assert losses["loss_rpn_cls"] > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in rpn.rpn_head.parameters())


def test_anchors_beyond_the_boundary_take_no_part() -> None:
    rpn = build_rpn(anchor_boundary_thresh=0.0, batch_size_per_image=10**4)
    anchors = rpn.anchor_generator(list(features().values()))
    labels, _ = rpn.label_and_sample_anchors(anchors, ground_truth([[5, 5, 30, 30]], []))
    joined = Boxes.cat(anchors)
    for image_labels, size in zip(labels, SIZES, strict=True):
        outside = ~joined.inside_box(size)
        assert (image_labels[outside] == -1).all()


def test_loss_weights_scale_their_loss() -> None:
    gt = ground_truth([[5, 5, 30, 30]], [[10, 10, 40, 30]])
    torch.manual_seed(1)
    rpn = build_rpn().train()
    torch.manual_seed(0)
    _, plain = rpn(images(), features(), gt)
    weighted_rpn = build_rpn(loss_weight={"loss_rpn_cls": 2.0, "loss_rpn_loc": 3.0}).train()
    weighted_rpn.load_state_dict(rpn.state_dict())
    torch.manual_seed(0)
    _, weighted = weighted_rpn(images(), features(), gt)
    torch.testing.assert_close(weighted["loss_rpn_cls"], 2 * plain["loss_rpn_cls"])
    torch.testing.assert_close(weighted["loss_rpn_loc"], 3 * plain["loss_rpn_loc"])


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_every_regression_loss_trains_the_deltas(kind: str) -> None:
    rpn = build_rpn(box_reg_loss_type=kind).train()
    _, losses = rpn(images(), features(), ground_truth([[5, 5, 30, 30]], [[10, 10, 40, 30]]))
    losses["loss_rpn_loc"].backward()
    gradient = rpn.rpn_head.anchor_deltas.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_training_without_ground_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="gt_instances"):
        build_rpn().train()(images(), features())


def test_several_convolutions_are_named_in_order() -> None:
    head = StandardRPNHead(in_channels=8, num_anchors=2, conv_dims=[-1, 16], box_dim=5)
    assert {"conv.conv0.weight", "conv.conv1.weight"} <= set(head.state_dict())
    (logits,), (deltas,) = head([torch.zeros(1, 8, 3, 3)])
    assert logits.shape == (1, 2, 3, 3)
    assert deltas.shape == (1, 10, 3, 3)
    assert isinstance(StandardRPNHead(in_channels=8, num_anchors=2).conv, nn.Conv2d)
    with pytest.raises(ValueError, match="conv_dims"):
        StandardRPNHead(in_channels=8, num_anchors=2, conv_dims=[0])


def test_ground_truth_is_appended_with_full_confidence() -> None:
    proposals = Instances(
        (10, 10),
        proposal_boxes=Boxes(torch.zeros(2, 4)),
        objectness_logits=torch.zeros(2),
    )
    gt = Instances((10, 10), gt_boxes=Boxes(torch.ones(1, 4)), gt_classes=torch.tensor([3]))
    for truth in ([gt], [gt.gt_boxes]):
        (joined,) = add_ground_truth_to_proposals(truth, [proposals])
        assert set(joined.get_fields()) == {"proposal_boxes", "objectness_logits"}
        assert joined.proposal_boxes.tensor[2].tolist() == [1, 1, 1, 1]
        assert joined.objectness_logits[2] > 20


def test_appending_needs_the_same_images_and_fields() -> None:
    proposals = Instances(
        (10, 10),
        proposal_boxes=Boxes(torch.zeros(2, 4)),
        objectness_logits=torch.zeros(2),
        extra=torch.zeros(2),
    )
    gt = Instances((10, 10), gt_boxes=Boxes(torch.ones(1, 4)))
    with pytest.raises(ValueError, match="'extra'"):
        add_ground_truth_to_proposals([gt], [proposals])
    with pytest.raises(ValueError, match="of 0 images, proposals of 1"):
        add_ground_truth_to_proposals([], [proposals])
