"""Sampling of proposals and the box head."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from d2_config import get_cfg
from d2_modeling import host_waits
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.events import EventStorage
from d2_modeling.layers import ShapeSpec
from d2_modeling.matcher import Matcher
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    StandardROIHeads,
    fast_rcnn_inference,
    federated_class_weights,
    select_foreground_proposals,
)
from d2_structures import Boxes, ImageList, Instances

SIZE = (64, 64)
NUM_CLASSES = 3


def predictor(**options: Any) -> FastRCNNOutputLayers:
    settings: dict[str, Any] = {
        "input_shape": ShapeSpec(channels=8),
        "box2box_transform": Box2BoxTransform((10, 10, 5, 5)),
        "num_classes": NUM_CLASSES,
    }
    return FastRCNNOutputLayers(**{**settings, **options})


def roi_heads(**options: Any) -> StandardROIHeads:
    settings: dict[str, Any] = {
        "num_classes": NUM_CLASSES,
        "batch_size_per_image": 8,
        "positive_fraction": 0.25,
        "proposal_matcher": Matcher([0.5], [0, 1]),
        "box_in_features": ["p2"],
        "box_pooler": ROIPooler(2, [1 / 4], 0, "ROIAlignV2"),
        "box_head": FastRCNNConvFCHead(
            ShapeSpec(channels=4, height=2, width=2), conv_dims=[], fc_dims=[8]
        ),
        "box_predictor": predictor(),
    }
    return StandardROIHeads(**{**settings, **options})


def random_proposals(count: int = 30, seed: int = 0) -> Instances:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    size = 4 + torch.rand(count, 2, generator=generator) * 20
    return Instances(
        SIZE,
        proposal_boxes=Boxes(torch.cat([corner, corner + size], dim=1)),
        objectness_logits=torch.randn(count, generator=generator),
    )


def truth(count: int = 2) -> Instances:
    boxes = torch.tensor([[5.0, 5, 25, 25], [30, 30, 60, 50], [0, 40, 20, 60]])[:count]
    return Instances(
        SIZE,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.arange(count),
        gt_extra=torch.arange(count) + 10,
        other=torch.zeros(count),
    )


def features() -> dict[str, torch.Tensor]:
    return {"p2": torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


def image_list() -> ImageList:
    return ImageList(torch.zeros(2, 3, *SIZE), [SIZE, SIZE])


def test_samples_carry_the_ground_truth_they_match() -> None:
    with EventStorage() as storage:
        sampled = roi_heads().label_and_sample_proposals(
            [random_proposals(), random_proposals(seed=1)], [truth(), truth(0)]
        )
    first, second = sampled
    assert len(first) == len(second) == 8
    foreground = first[first.gt_classes < NUM_CLASSES]
    assert 1 <= len(foreground) <= 2
    assert torch.equal(foreground.gt_extra, foreground.gt_classes + 10)
    assert torch.equal(foreground.gt_boxes.tensor, truth().gt_boxes.tensor[foreground.gt_classes])
    assert not first.has("other")
    assert (second.gt_classes == NUM_CLASSES).all()
    assert not second.has("gt_boxes")
    latest = storage.latest()
    assert latest["roi_head/num_fg_samples"][0] == len(foreground) / 2
    assert latest["roi_head/num_bg_samples"][0] == 8 - len(foreground) / 2


def test_ground_truth_boxes_are_proposals_unless_told_otherwise() -> None:
    far = Instances(
        SIZE,
        proposal_boxes=Boxes(torch.tensor([[60.0, 60, 63, 63]])),
        objectness_logits=torch.zeros(1),
    )
    with_truth = roi_heads().label_and_sample_proposals([far], [truth()])[0]
    without = roi_heads(proposal_append_gt=False).label_and_sample_proposals([far], [truth()])[0]
    assert (with_truth.gt_classes < NUM_CLASSES).sum() == 2
    assert (without.gt_classes < NUM_CLASSES).sum() == 0


def test_proposals_between_thresholds_are_never_sampled() -> None:
    matcher = Matcher([0.1, 0.9], [0, -1, 1])
    sampled = roi_heads(
        proposal_matcher=matcher, batch_size_per_image=100
    ).label_and_sample_proposals([random_proposals(200)], [truth(3)])[0]
    assert (sampled.gt_classes >= 0).all()


def test_foreground_selection_drops_background_and_ignored() -> None:
    image = Instances(SIZE, gt_classes=torch.tensor([0, 3, -1, 2]))
    (chosen,), (mask,) = select_foreground_proposals([image], bg_label=3)
    assert chosen.gt_classes.tolist() == [0, 2]
    assert mask.tolist() == [True, False, False, True]


def test_training_gives_losses_and_needs_targets() -> None:
    heads = roi_heads().train()
    proposals = [random_proposals(), random_proposals(seed=1)]
    _, losses = heads(image_list(), features(), proposals, [truth(), truth()])
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    sum(losses.values()).backward()
    with pytest.raises(ValueError, match="targets"):
        heads(image_list(), features(), proposals)


@pytest.mark.parametrize("agnostic", [False, True])
def test_training_on_predicted_boxes_replaces_the_proposals(agnostic: bool) -> None:
    heads = roi_heads(
        train_on_pred_boxes=True, box_predictor=predictor(cls_agnostic_bbox_reg=agnostic)
    ).train()
    torch.nn.init.constant_(heads.box_predictor.bbox_pred.bias, 0.5)
    proposals = [random_proposals(), random_proposals(seed=1)]
    sampled, _ = heads(image_list(), features(), proposals, [truth(), truth()])
    known = {tuple(row) for p in proposals for row in p.proposal_boxes.tensor.tolist()}
    assert not known & {tuple(row) for row in sampled[0].proposal_boxes.tensor.tolist()}


def test_inference_gives_detections_with_no_losses() -> None:
    heads = roi_heads().eval()
    with torch.no_grad():
        detections, losses = heads(image_list(), features(), [random_proposals()] * 2)
    assert losses == {}
    assert set(detections[0].get_fields()) == {"pred_boxes", "scores", "pred_classes"}


def test_given_boxes_need_evaluation_mode_and_their_fields() -> None:
    heads = roi_heads()
    with pytest.raises(ValueError, match="inference"):
        heads.train().forward_with_given_boxes(features(), [])
    with pytest.raises(ValueError, match="pred_classes"):
        heads.eval().forward_with_given_boxes(features(), [random_proposals()])


def test_a_head_without_its_module_is_refused() -> None:
    with pytest.raises(ValueError, match="mask_in_features was given without mask_head"):
        roi_heads(mask_in_features=["p2"])


def test_detections_equal_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["fast_rcnn_inference"]
    (result,), (kept,) = fast_rcnn_inference(
        golden["boxes"],
        golden["scores"],
        [golden["image"]],
        golden["score_thresh"],
        golden["nms"],
        golden["topk"],
    )
    torch.testing.assert_close(result.pred_boxes.tensor, golden["out_boxes"])
    torch.testing.assert_close(result.scores, golden["out_scores"])
    assert torch.equal(result.pred_classes, golden["out_classes"])
    assert torch.equal(kept, golden["kept"])


def test_regions_with_non_finite_values_give_no_detection() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, float("nan"), 40]])
    scores = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    (result,), (kept,) = fast_rcnn_inference([boxes], [scores], [SIZE], 0.5, 0.5, 10)
    assert kept.tolist() == [0]
    assert result.pred_classes.tolist() == [0]


def test_no_regions_give_no_detections() -> None:
    boxes, scores = torch.zeros(0, 12), torch.zeros(0, 4)
    (result,), _ = fast_rcnn_inference([boxes], [scores], [SIZE], 0.5, 0.5, 10)
    assert len(result) == 0


def labelled(count: int = 6) -> Instances:
    image = random_proposals(count)
    image.gt_classes = torch.tensor([0, 1, 2, 3, 3, 0])[:count]
    image.gt_boxes = Boxes(image.proposal_boxes.tensor + 1)
    return image


def test_box_losses_are_those_of_the_definition() -> None:
    layers = predictor()
    torch.manual_seed(0)
    scores, deltas = torch.randn(6, 4), torch.randn(6, 12) * 0.1
    image = labelled()
    losses = layers.losses((scores, deltas), [image])
    torch.testing.assert_close(losses["loss_cls"], F.cross_entropy(scores, image.gt_classes))
    target = layers.box2box_transform.get_deltas(image.proposal_boxes.tensor, image.gt_boxes.tensor)
    wanted = sum(
        (deltas[i, 4 * c : 4 * c + 4] - target[i]).abs().sum()
        for i, c in enumerate(image.gt_classes.tolist())
        if c < NUM_CLASSES
    )
    torch.testing.assert_close(losses["loss_box_reg"], wanted / 6)


def test_losses_of_no_regions_are_zero_and_differentiable() -> None:
    layers = predictor()
    predictions = layers(torch.zeros(0, 8))
    losses = layers.losses(predictions, [labelled(0)])
    total = sum(losses.values())
    assert total == 0
    total.backward()
    assert layers.cls_score.weight.grad is not None


@pytest.mark.parametrize("options", [{}, {"use_sigmoid_ce": True}, {"box_reg_loss_type": "giou"}])
@pytest.mark.parametrize("agnostic", [False, True])
def test_losses_of_no_images_are_zero_and_differentiable(
    options: dict[str, Any], agnostic: bool
) -> None:
    layers = predictor(cls_agnostic_bbox_reg=agnostic, **options)
    predictions = layers(torch.zeros(0, 8))
    losses = layers.losses(predictions, [])
    assert list(losses) == ["loss_cls", "loss_box_reg"]
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in layers.parameters())
    assert layers.inference(predictions, []) == ([], [])


def test_images_without_ground_truth_have_no_regression_loss() -> None:
    layers = predictor()
    image = random_proposals(4)
    image.gt_classes = torch.full((4,), NUM_CLASSES)
    losses = layers.losses(layers(torch.randn(4, 8)), [image])
    assert losses["loss_box_reg"] == 0
    assert losses["loss_cls"] > 0


def test_loss_weights_scale_their_loss() -> None:
    predictions = (torch.randn(6, 4), torch.randn(6, 12))
    plain = predictor().losses(predictions, [labelled()])
    weighted = predictor(loss_weight={"loss_box_reg": 4.0}).losses(predictions, [labelled()])
    torch.testing.assert_close(weighted["loss_cls"], plain["loss_cls"])
    torch.testing.assert_close(weighted["loss_box_reg"], 4 * plain["loss_box_reg"])


def test_sigmoid_loss_counts_each_class_on_its_own() -> None:
    layers = predictor(use_sigmoid_ce=True)
    scores, classes = torch.randn(6, 4), labelled().gt_classes
    target = F.one_hot(classes, 4)[:, :3].float()
    wanted = F.binary_cross_entropy_with_logits(scores[:, :3], target, reduction="sum") / 6
    torch.testing.assert_close(layers.sigmoid_cross_entropy_loss(scores, classes), wanted)
    assert layers.sigmoid_cross_entropy_loss(scores[:0], classes[:0]) == 0
    (probs,) = layers.predict_probs((scores, torch.zeros(6, 12)), [labelled()])
    torch.testing.assert_close(probs, scores.sigmoid())


def test_the_federated_loss_takes_present_classes_and_fills_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = predictor(
        num_classes=6,
        use_sigmoid_ce=True,
        use_fed_loss=True,
        get_fed_loss_cls_weights=lambda: torch.tensor([1.0, 1, 1, 1, 1, 0]),
        fed_loss_num_classes=4,
    )
    chosen = layers._federated_classes(torch.tensor([0, 2, 6]))
    assert chosen[0]
    assert chosen[2]
    assert not chosen[5]
    assert chosen.sum() == 3  # background is the fourth
    assert layers._federated_classes(torch.tensor([0, 2])).sum() == 4
    assert layers.sigmoid_cross_entropy_loss(torch.randn(3, 7), torch.tensor([0, 2, 6])) > 0
    with pytest.raises(ValueError, match="use_fed_loss needs"):
        predictor(use_fed_loss=True)
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: False)
    times = torch.zeros(6)
    for _ in range(400):
        chosen = layers._federated_classes(torch.tensor([0, 2, 6]))
        assert chosen[[0, 2]].all()
        assert chosen.sum() == 3
        assert not chosen[5]
        times += chosen
    assert (times[[1, 3, 4]] - 400 / 3).abs().max() < 45
    assert layers._federated_classes(torch.tensor([0, 1, 2, 3, 4])).sum() == 5


def test_a_config_gets_the_class_weights_of_the_federated_loss() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = cfg.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = True
    with pytest.raises(ValueError, match=r"gets these within federated_class_weights\(\)"):
        FastRCNNOutputLayers(cfg, ShapeSpec(channels=4))
    with federated_class_weights(lambda: torch.tensor([1.0, 2.0, 0.0])):
        layers = FastRCNNOutputLayers(cfg, ShapeSpec(channels=4))
    assert layers.get_buffer("fed_loss_cls_weights").tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize("agnostic", [False, True])
def test_decoded_boxes_of_the_own_class_are_among_all(agnostic: bool) -> None:
    layers = predictor(cls_agnostic_bbox_reg=agnostic)
    image = labelled()
    predictions = layers(torch.randn(6, 8))
    (every,) = layers.predict_boxes(predictions, [image])
    (own,) = layers.predict_boxes_for_gt_classes(predictions, [image])
    classes = image.gt_classes.clamp(max=NUM_CLASSES - 1)
    wanted = every if agnostic else every.view(6, 3, 4)[torch.arange(6), classes]
    torch.testing.assert_close(own, wanted)
    assert layers.predict_boxes(predictions, []) == ()


def test_accuracies_reach_the_storage() -> None:
    scores = torch.zeros(4, 4)
    scores[torch.arange(4), torch.tensor([0, 3, 3, 1])] = 1.0
    image = random_proposals(4)
    image.gt_classes = torch.tensor([0, 1, 3, 3])
    image.gt_boxes = image.proposal_boxes
    with EventStorage() as storage:
        predictor().losses((scores, torch.zeros(4, 12)), [image])
    latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest == {
        "fast_rcnn/cls_accuracy": 0.5,
        "fast_rcnn/fg_cls_accuracy": 0.5,
        "fast_rcnn/false_negative": 0.5,
    }


def test_the_box_head_flattens_before_its_first_linear_layer() -> None:
    shape = ShapeSpec(channels=4, height=3, width=3)
    head = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[8, 5], conv_norm="GN")
    assert head(torch.randn(2, 4, 3, 3)).shape == (2, 5)
    assert head.output_shape == ShapeSpec(channels=5)
    assert {"conv1.norm.weight", "fc1.weight", "fc2.bias"} <= set(head.state_dict())
    only_convolutions = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[])
    assert only_convolutions.output_shape == ShapeSpec(channels=6, height=3, width=3)
    with pytest.raises(ValueError, match="at least one layer"):
        FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[])
    with pytest.raises(ValueError, match="height and width"):
        FastRCNNConvFCHead(ShapeSpec(channels=4), conv_dims=[], fc_dims=[8])


def test_region_maps_are_flattened_for_prediction() -> None:
    layers = predictor(input_shape=ShapeSpec(channels=2, height=2, width=2))
    scores, deltas = layers(torch.randn(5, 2, 2, 2))
    assert (scores.shape, deltas.shape) == ((5, 4), (5, 12))
