"""Losses and predictions of classified regions by their definitions, in float64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_config import get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.batched_selection import Regions, batch_index_of
from d2_modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    Box2BoxTransformRotated,
    box_regression_loss,
)
from d2_modeling.events import EventStorage
from d2_modeling.roi_heads import (
    FastRCNNOutputLayers,
    RotatedFastRCNNOutputLayers,
    federated_class_weights,
    report_classification,
)
from d2_structures import Boxes, Instances, RotatedBoxes

Draw = Callable[..., Tensor]

SIZE = (80, 100)
K = 3


def layers(*, rotated: bool = False, num_classes: int = K, **options: Any) -> FastRCNNOutputLayers:
    torch.manual_seed(0)
    transform: Any = Box2BoxTransform((10, 10, 5, 5))
    if rotated:
        transform = Box2BoxTransformRotated((10, 10, 5, 5, 1))
    return FastRCNNOutputLayers(
        ShapeSpec(channels=8), box2box_transform=transform, num_classes=num_classes, **options
    ).double()


def predictions(count: int, *, rotated: bool, agnostic: bool, seed: int = 0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    values = (5 if rotated else 4) * (1 if agnostic else K)
    return (
        torch.randn(count, K + 1, generator=generator).double() * 2,
        torch.randn(count, values, generator=generator).double(),
    )


@pytest.fixture(scope="session")
def labelled(random_boxes: Draw, random_rotated_boxes: Draw) -> Callable[..., Instances]:
    """Proposals with classes and ground truth: classes, seed, whether they are rotated."""

    def proposals(classes: list[int], seed: int = 0, rotated: bool = False) -> Instances:
        draw, kind = (random_rotated_boxes, RotatedBoxes) if rotated else (random_boxes, Boxes)
        count = len(classes)
        return Instances(
            SIZE,
            proposal_boxes=kind(draw(count, seed)),
            gt_boxes=kind(draw(count, seed + 1)),
            gt_classes=torch.tensor(classes, dtype=torch.int64),
        )

    return proposals


CLASSES = st.lists(st.lists(st.integers(0, K), max_size=5), min_size=1, max_size=3)


def softmax_loss(row: list[float], kind: int) -> float:
    top = max(row)
    return top + math.log(sum(math.exp(value - top) for value in row)) - row[kind]


@given(CLASSES, st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_losses_are_means_over_all_regions_of_the_batch(
    labelled: Any, classes: list[list[int]], seed: int, rotated: bool, agnostic: bool
) -> None:
    module = layers(rotated=rotated, cls_agnostic_bbox_reg=agnostic)
    images = [labelled(each, seed + place, rotated) for place, each in enumerate(classes)]
    flat = [kind for image in classes for kind in image]
    scores, deltas = predictions(len(flat), rotated=rotated, agnostic=agnostic, seed=seed)
    losses = module.losses((scores, deltas), images)
    values = module.box_dim
    classification = regression = 0.0
    boxes = torch.cat([image.proposal_boxes.tensor for image in images])
    gt = torch.cat([image.gt_boxes.tensor for image in images])
    wanted = module.box2box_transform.get_deltas(boxes, gt)
    for row, kind in enumerate(flat):
        classification += softmax_loss(scores[row].tolist(), kind)
        if kind < K:
            start = 0 if agnostic else values * kind
            errors = deltas[row, start : start + values] - wanted[row]
            regression += errors.abs().sum().item()
    number = max(len(flat), 1)
    assert losses["loss_cls"].item() == pytest.approx(classification / number, rel=1e-5, abs=1e-9)
    assert losses["loss_box_reg"].item() == pytest.approx(regression / number, rel=1e-4, abs=1e-9)


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize("agnostic", [False, True])
def test_a_device_that_must_not_be_asked_has_the_same_losses_and_gradients(
    agnostic: bool, labelled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = layers(cls_agnostic_bbox_reg=agnostic)
    images = [labelled([0, K, 2]), labelled([K, K], 5), labelled([1, 1], 7)]
    results = []
    for _ in range(2):
        leaves = [p.requires_grad_() for p in predictions(7, rotated=False, agnostic=agnostic)]
        losses = module.losses((leaves[0], leaves[1]), images)
        sum(losses.values()).backward()
        results.append((losses, [leaf.grad for leaf in leaves]))
        monkeypatch.undo()  # the second time the host asks
    (got, gradients), (wanted, wanted_gradients) = results
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(gradients, wanted_gradients)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
@pytest.mark.parametrize("agnostic", [False, True])
def test_the_regression_loss_is_that_of_the_foreground_pairs(
    kind: str, agnostic: bool, labelled: Any
) -> None:
    module = layers(cls_agnostic_bbox_reg=agnostic, box_reg_loss_type=kind, smooth_l1_beta=0.5)
    classes = [2, K, 0, K, 1, 1]
    image = labelled(classes)
    _, deltas = predictions(6, rotated=False, agnostic=agnostic)
    rows = torch.tensor([0, 2, 4, 5])
    own = torch.stack(
        [deltas[row] if agnostic else deltas[row].view(K, 4)[classes[row]] for row in rows]
    )
    boxes, gt = image.proposal_boxes.tensor, image.gt_boxes.tensor
    wanted = box_regression_loss(
        *(boxes[rows], own, gt[rows]),
        box2box_transform=module.box2box_transform,
        box_reg_loss_type=kind,
        smooth_l1_beta=0.5,
    )
    got = module.box_reg_loss(boxes, gt, deltas, image.gt_classes)
    torch.testing.assert_close(got, wanted / 6)


def test_classes_below_zero_are_no_foreground(labelled: Any) -> None:
    module, image = layers(), labelled([2, -1, 0, -100])
    _, deltas = predictions(4, rotated=False, agnostic=False)
    boxes, gt = image.proposal_boxes.tensor, image.gt_boxes.tensor
    got = module.box_reg_loss(boxes, gt, deltas, image.gt_classes)
    own = torch.tensor([0, 2])
    alone = module.box_reg_loss(boxes[own], gt[own], deltas[own], image.gt_classes[own])
    torch.testing.assert_close(got, alone / 2)  # the same sum over twice the regions


def test_only_deltas_of_the_own_class_are_trained(labelled: Any) -> None:
    _, deltas = predictions(4, rotated=False, agnostic=False)
    deltas.requires_grad_()
    image = labelled([2, K, 0, 1])
    module = layers()
    boxes, gt = image.proposal_boxes.tensor, image.gt_boxes.tensor
    module.box_reg_loss(boxes, gt, deltas, image.gt_classes).backward()
    assert deltas.grad is not None
    touched = deltas.grad.view(4, K, 4).ne(0).any(dim=2)
    assert touched.tolist() == [
        [False, False, True],
        [False, False, False],
        [True, False, False],
        [False, True, False],
    ]


@pytest.mark.parametrize("options", [{}, {"use_sigmoid_ce": True}])
def test_the_gradient_of_scores_is_that_of_finite_differences(
    options: dict[str, Any], labelled: Any
) -> None:
    module, image = layers(**options), labelled([0, K, 2, 1])
    scores, deltas = predictions(4, rotated=False, agnostic=False)
    assert torch.autograd.gradcheck(
        lambda x: module.losses((x, deltas), [image])["loss_cls"], scores.requires_grad_()
    )


@pytest.mark.parametrize("options", [{}, {"use_sigmoid_ce": True}, {"box_reg_loss_type": "giou"}])
def test_losses_know_no_order_of_regions_nor_of_images(
    options: dict[str, Any], labelled: Any
) -> None:
    module = layers(**options)
    images = [labelled([0, K, 2]), labelled([1, K], 5)]
    scores, deltas = predictions(5, rotated=False, agnostic=False)
    wanted = module.losses((scores, deltas), images)
    order = torch.tensor([4, 3, 1, 2, 0])
    turned = [images[1][torch.tensor([1, 0])], images[0][torch.tensor([1, 2, 0])]]
    torch.testing.assert_close(module.losses((scores[order], deltas[order]), turned), wanted)


def test_images_without_ground_truth_join_those_with_it(labelled: Any) -> None:
    without = labelled([K, K])
    without.remove("gt_boxes")
    images = [labelled([0, 1]), without]
    scores, deltas = predictions(4, rotated=False, agnostic=False)
    got = layers().losses((scores, deltas), images)["loss_box_reg"]
    alone = layers().losses((scores[:2], deltas[:2]), images[:1])["loss_box_reg"]
    torch.testing.assert_close(got, alone / 2)  # the same sum over twice the regions


@given(CLASSES, st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_sigmoid_loss_sums_classes_and_divides_by_regions(
    classes: list[list[int]], seed: int
) -> None:
    flat = [kind for image in classes for kind in image]
    scores, _ = predictions(len(flat), rotated=False, agnostic=True, seed=seed)
    module = layers(use_sigmoid_ce=True)
    got = module.sigmoid_cross_entropy_loss(scores, torch.tensor(flat, dtype=torch.int64))
    wanted = sum(
        math.log1p(math.exp(-logit if kind == column else logit))
        for row, kind in zip(scores.tolist(), flat, strict=True)
        for column, logit in enumerate(row[:K])
    )
    assert got.item() == pytest.approx(wanted / max(len(flat), 1))


def federated(weights: list[float], wanted: int) -> FastRCNNOutputLayers:
    return layers(
        num_classes=len(weights),
        use_sigmoid_ce=True,
        use_fed_loss=True,
        get_fed_loss_cls_weights=lambda: torch.tensor(weights),
        fed_loss_num_classes=wanted,
    )


def classes_that_count(module: FastRCNNOutputLayers, gt_classes: list[int]) -> list[int]:
    """Those whose scores get a gradient."""
    scores = torch.zeros(len(gt_classes), module.num_classes + 1, requires_grad=True)
    module.sigmoid_cross_entropy_loss(scores, torch.tensor(gt_classes)).backward()
    assert scores.grad is not None
    return scores.grad.ne(0).any(dim=0).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("on_a_device", [False, True])
def test_the_federated_loss_counts_a_sample_of_classes(
    on_a_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_a_device:
        monkeypatch.setattr("d2_modeling.host_waits._is_read_at_once", lambda device: False)
    torch.manual_seed(0)
    module = federated([1.0, 1.0, 0.0, 1.0, 1.0, 1.0], 3)
    for _ in range(20):
        chosen = classes_that_count(module, [1, 1])
        assert len(chosen) == 3
        assert 1 in chosen
        assert 2 not in chosen  # it is never drawn
    assert classes_that_count(module, [2, 2, 2])[:3].count(2) == 1  # but counts where it is
    assert classes_that_count(module, [0, 1, 3, 4]) == [0, 1, 3, 4]  # more than were wanted
    scarce = federated([0.0, 0.0, 0.0, 1.0, 1.0], 5)
    assert classes_that_count(scarce, [3]) == [3, 4]  # there is no more to draw
    assert classes_that_count(federated([0.0, 0.0, 0.0], 3), [1]) == [1]


def test_classes_are_drawn_by_their_weights() -> None:
    torch.manual_seed(0)
    module = federated([0.0, 1.0, 9.0], 2)
    drawn = [classes_that_count(module, [0])[1] for _ in range(200)]
    assert drawn.count(1) + drawn.count(2) == 200
    assert 5 <= drawn.count(1) <= 40  # 20 are expected


def test_what_a_federated_loss_needs_is_named() -> None:
    for options in (
        {"use_sigmoid_ce": False, "get_fed_loss_cls_weights": lambda: torch.ones(K)},
        {"use_sigmoid_ce": True},
    ):
        with pytest.raises(ValueError, match="needs use_sigmoid_ce=True and get_fed_loss_cls_weig"):
            layers(use_fed_loss=True, **options)


def test_weights_of_classes_hold_within_their_block_alone() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = cfg.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = True

    def weights() -> list[float]:
        module = FastRCNNOutputLayers(cfg, ShapeSpec(channels=4))
        return module.get_buffer("fed_loss_cls_weights").tolist()

    with federated_class_weights(lambda: torch.tensor([1.0, 2.0])):
        assert weights() == [1, 2]
        with federated_class_weights(lambda: torch.tensor([3.0, 4.0])):
            assert weights() == [3, 4]
        assert weights() == [1, 2]
    with pytest.raises(ValueError, match="use_fed_loss needs"):
        weights()


def reported(scores: Tensor, classes: list[int], **options: Any) -> dict[str, float]:
    with EventStorage() as storage:
        report_classification(scores, torch.tensor(classes, dtype=torch.int64), **options)
    return {name: value for name, (value, _) in storage.latest().items()}


def test_accuracies_are_reported_under_the_given_name() -> None:
    scores = torch.eye(4)[torch.tensor([0, 1, 3, 3, 2])]  # what is predicted
    got = reported(scores, [0, 2, 1, 3, 2], prefix="mine")
    assert got == {
        "mine/cls_accuracy": pytest.approx(3 / 5),
        "mine/fg_cls_accuracy": pytest.approx(2 / 4),
        "mine/false_negative": pytest.approx(1 / 4),
    }


def test_without_foreground_there_is_one_accuracy_and_without_regions_none() -> None:
    assert reported(torch.eye(4)[[3, 0]], [3, 3]) == {"fast_rcnn/cls_accuracy": 0.5}
    assert reported(torch.zeros(0, 4), []) == {}
    report_classification(torch.eye(4), torch.arange(4))  # without a storage it does nothing


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
def test_shapes_of_predictions_follow_classes_and_values(rotated: bool, agnostic: bool) -> None:
    module = layers(rotated=rotated, cls_agnostic_bbox_reg=agnostic)
    for count in (0, 4):
        scores, deltas = module(torch.randn(count, 8).double())
        assert scores.shape == (count, K + 1)
        assert deltas.shape == (count, module.box_dim * (1 if agnostic else K))


def test_layers_start_with_small_weights_and_no_bias() -> None:
    torch.manual_seed(0)
    shape = ShapeSpec(channels=16, height=4, width=4)
    module = FastRCNNOutputLayers(
        shape, box2box_transform=Box2BoxTransform((1, 1, 1, 1)), num_classes=20
    )
    assert module.cls_score.in_features == 256
    for layer, deviation in ((module.cls_score, 0.01), (module.bbox_pred, 0.001)):
        assert not layer.bias.any()
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize("use_sigmoid_ce", [False, True])
def test_probabilities_are_split_by_image(use_sigmoid_ce: bool, labelled: Any) -> None:
    module = layers(use_sigmoid_ce=use_sigmoid_ce)
    images = [labelled([0, 1]), labelled([]), labelled([K])]
    given_scores = predictions(3, rotated=False, agnostic=False)
    probabilities = module.predict_probs(given_scores, images)
    assert [len(each) for each in probabilities] == [2, 0, 1]
    for row, logits in zip(torch.cat(probabilities), given_scores[0].tolist(), strict=True):
        odds = [math.exp(value) for value in logits]
        wanted = [o / (1 + o) if use_sigmoid_ce else o / sum(odds) for o in odds]
        assert row.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_are_split_by_image_and_those_of_the_class_are_among_them(
    rotated: bool, agnostic: bool, labelled: Any
) -> None:
    module = layers(rotated=rotated, cls_agnostic_bbox_reg=agnostic)
    classes = [[0, 1], [], [2, K]]
    images = [labelled(each, place, rotated) for place, each in enumerate(classes)]
    given_deltas = predictions(4, rotated=rotated, agnostic=agnostic)
    every = module.predict_boxes(given_deltas, images)
    own = module.predict_boxes_for_gt_classes(given_deltas, images)
    start = 0
    for image, boxes, mine, kinds in zip(images, every, own, classes, strict=True):
        rows = slice(start, start + len(image))
        start += len(image)
        decoded = module.box2box_transform.apply_deltas(
            given_deltas[1][rows], image.proposal_boxes.tensor
        )
        assert boxes.equal(decoded)
        assert mine.shape == (len(image), module.box_dim)
        for row, kind in enumerate(kinds):
            if kind < K:
                at = 0 if agnostic else kind * module.box_dim
                assert mine[row].equal(boxes[row, at : at + module.box_dim])
    assert module.predict_boxes_for_gt_classes(given_deltas, []) == ()


@pytest.mark.parametrize("rotated", [False, True])
def test_as_a_function_of_tensors_it_detects_the_same(rotated: bool, labelled: Any) -> None:
    module = layers(rotated=rotated, test_score_thresh=0.2, test_topk_per_image=4)
    images = [labelled([0] * count, count, rotated) for count in (5, 0, 3)]
    scores, deltas = predictions(8, rotated=rotated, agnostic=False)
    given_predictions = scores.float(), deltas.float()  # as boxes are
    found, rows = module.inference(given_predictions, images)
    regions = Regions(
        torch.cat([image.proposal_boxes.tensor for image in images]),
        torch.ones(8),
        batch_index_of([5, 0, 3], torch.device("cpu")),
    )
    got = module.detect(given_predictions, regions, torch.tensor([SIZE] * 3))
    assert got.boxes.equal(torch.cat([image.pred_boxes.tensor for image in found]))
    assert got.scores.equal(torch.cat([image.scores for image in found]))
    assert got.classes.equal(torch.cat([image.pred_classes for image in found]))
    assert got.batch_index.tolist() == [i for i, image in enumerate(found) for _ in image.scores]
    starts = [0, 5, 5]
    wanted = torch.cat([each + start for each, start in zip(rows, starts, strict=True)])
    assert got.source.equal(wanted)
    assert len(got.scores) > 0


def test_a_config_sets_every_option() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 7
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.125
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.375
    cfg.TEST.DETECTIONS_PER_IMAGE = 33
    options = cfg.MODEL.ROI_BOX_HEAD
    options.BBOX_REG_WEIGHTS = (1.0, 2.0, 3.0, 4.0)
    options.CLS_AGNOSTIC_BBOX_REG = options.USE_SIGMOID_CE = True
    options.SMOOTH_L1_BETA, options.BBOX_REG_LOSS_TYPE = 0.25, "diou"
    options.BBOX_REG_LOSS_WEIGHT, options.FED_LOSS_NUM_CLASSES = 5.0, 9
    module = FastRCNNOutputLayers(cfg, ShapeSpec(channels=6))
    assert module.box2box_transform.weights == (1, 2, 3, 4)
    assert (module.cls_score.out_features, module.bbox_pred.out_features) == (8, 4)
    assert (module.test_score_thresh, module.test_nms_thresh) == (0.125, 0.375)
    assert (module.test_topk_per_image, module.fed_loss_num_classes) == (33, 9)
    assert (module.smooth_l1_beta, module.box_reg_loss_type) == (0.25, "diou")
    assert module.loss_weight == {"loss_cls": 1.0, "loss_box_reg": 5.0}
    assert module.use_sigmoid_ce
    assert not module.use_fed_loss
    options.BBOX_REG_WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0)
    turned = RotatedFastRCNNOutputLayers(cfg, ShapeSpec(channels=6))
    assert isinstance(turned.box2box_transform, Box2BoxTransformRotated)
    assert (turned.box_dim, turned.bbox_pred.out_features) == (5, 5)


@pytest.mark.parametrize("agnostic", [False, True])
def test_an_encoding_without_weights_is_of_four_values(agnostic: bool, labelled: Any) -> None:
    transform = Box2BoxTransformLinear()
    module = FastRCNNOutputLayers(
        ShapeSpec(channels=8),
        box2box_transform=transform,
        num_classes=K,
        cls_agnostic_bbox_reg=agnostic,
    )
    assert module.bbox_pred.out_features == (4 if agnostic else 4 * K)
    image = labelled([0, K, 2])
    image.gt_boxes = Boxes(image.proposal_boxes.tensor + 1)
    scores, deltas = predictions(3, rotated=False, agnostic=agnostic)
    boxes, gt = image.proposal_boxes.tensor, image.gt_boxes.tensor
    errors = deltas.view(3, -1, 4) - transform.get_deltas(boxes, gt).double()[:, None]
    wanted = errors[0, 0].abs().sum() + errors[2, 0 if agnostic else 2].abs().sum()
    torch.testing.assert_close(module.losses((scores, deltas), [image])["loss_box_reg"], wanted / 3)
    (found,), _ = module.inference((scores.float(), deltas.float()), [image])
    assert len(found) > 0


def test_an_unknown_loss_weight_is_named() -> None:
    with pytest.raises(ValueError, match=r"\['cls'\]; the losses are \['loss_cls', 'loss_box_reg'"):
        layers(loss_weight={"cls": 1.0})
