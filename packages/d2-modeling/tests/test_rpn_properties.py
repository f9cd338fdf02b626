"""The region proposal network: its losses by definition, and what its results depend on."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.anchor_generator import DefaultAnchorGenerator, RotatedAnchorGenerator
from d2_modeling.box_kinds import box_kind
from d2_modeling.box_regression import Box2BoxTransform, Box2BoxTransformRotated
from d2_modeling.events import EventStorage
from d2_modeling.matcher import Matcher
from d2_modeling.proposal_generator import (
    RPN,
    RPN_HEAD_REGISTRY,
    RRPN,
    StandardRPNHead,
    build_proposal_generator,
    build_rpn_head,
)
from d2_structures import Boxes, ImageList, Instances, RotatedBoxes

SIZES = [(48, 64), (40, 60)]
STRIDES = [8, 16]


def rpn(*, rotated: bool = False, **options: Any) -> RPN:
    torch.manual_seed(0)
    grids: Any = {"sizes": [[16], [32]], "aspect_ratios": [0.5, 2.0], "strides": STRIDES}
    if rotated:
        generator: nn.Module = RotatedAnchorGenerator(**grids, angles=[0, 45])
        transform: Any = Box2BoxTransformRotated((1, 1, 1, 1, 1))
    else:
        generator, transform = DefaultAnchorGenerator(**grids), Box2BoxTransform((1, 1, 1, 1))
    head = StandardRPNHead(
        in_channels=4, num_anchors=4 if rotated else 2, box_dim=5 if rotated else 4
    )
    for layer in (head.objectness_logits, head.anchor_deltas):
        nn.init.normal_(layer.weight, std=0.3)
    settings: dict[str, Any] = {
        "in_features": ["p3", "p4"],
        "head": head,
        "anchor_generator": generator,
        "anchor_matcher": Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        "box2box_transform": transform,
        "batch_size_per_image": 10**4,  # all are drawn
        "positive_fraction": 1.0,
        "pre_nms_topk": (50, 30),
        "post_nms_topk": (20, 10),
    }
    return (RRPN if rotated else RPN)(**{**settings, **options})


def features(images: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "p3": torch.randn(images, 4, 6, 8, generator=generator),
        "p4": torch.randn(images, 4, 3, 4, generator=generator),
    }


def image_list(*rows: int) -> ImageList:
    rows = rows or (0, 1)
    return ImageList(torch.zeros(len(rows), 3, 48, 64), [SIZES[row] for row in rows])


def truth(rotated: bool = False) -> list[Instances]:
    rows = [[[5.0, 5, 30, 30], [20, 10, 60, 40]], [[10.0, 10, 40, 30]]]
    if rotated:
        rows = [[[20.0, 20, 16, 30, 30], [40, 25, 30, 12, -20]], [[25.0, 20, 30, 20, 0]]]
    kind: Any = RotatedBoxes if rotated else Boxes
    return [Instances(s, gt_boxes=kind(torch.tensor(r))) for s, r in zip(SIZES, rows, strict=True)]


def outputs(module: RPN, maps: dict[str, Tensor]) -> tuple[Any, list[Tensor], list[Tensor]]:
    """Anchors, logits and deltas, by image, level, row, column and anchor."""
    anchors = module.anchor_generator([maps["p3"], maps["p4"]])
    values = anchors[0].tensor.shape[1]
    logits, deltas = module.rpn_head([maps["p3"], maps["p4"]])
    flat_logits = [each.permute(0, 2, 3, 1).flatten(1) for each in logits]
    flat_deltas = [
        torch.stack([each[:, at::values] for at in range(values)], dim=-1)
        .permute(0, 2, 3, 1, 4)
        .flatten(1, 3)
        for each in deltas
    ]
    return anchors, flat_logits, flat_deltas


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_losses_are_sums_over_the_sample_by_its_wanted_size(rotated: bool, beta: float) -> None:
    module = rpn(rotated=rotated, smooth_l1_beta=beta, batch_size_per_image=40).train()
    maps, gt = features(), truth(rotated)
    anchors, logits, deltas = outputs(module, maps)
    torch.manual_seed(5)
    labels, boxes = module.label_and_sample_anchors(anchors, gt)
    torch.manual_seed(5)  # the same sample
    _, losses = module(image_list(), maps, gt)
    all_logits, all_deltas = torch.cat(logits, dim=1).double(), torch.cat(deltas, dim=1).double()
    all_anchors = torch.cat([level.tensor for level in anchors])
    classification = regression = 0.0
    for image in range(2):
        targets = None
        for row, label in enumerate(labels[image].tolist()):
            if label < 0:
                continue
            logit = all_logits[image, row].item()
            classification += math.log1p(math.exp(-logit if label == 1 else logit))
            if label == 1:
                targets = module.box2box_transform.get_deltas(
                    all_anchors[row : row + 1], boxes[image][row : row + 1]
                )
                errors = (all_deltas[image, row] - targets[0].double()).abs().tolist()
                regression += sum(e * e / 2 / beta if e < beta else e - beta / 2 for e in errors)
        assert targets is not None  # every image has foreground
    assert losses["loss_rpn_cls"].item() == pytest.approx(classification / 80, rel=1e-4)
    assert losses["loss_rpn_loc"].item() == pytest.approx(regression / 80, rel=1e-4)


@pytest.mark.parametrize("rotated", [False, True])
def test_labels_are_those_of_the_matcher_and_boxes_those_of_the_match(rotated: bool) -> None:
    module, gt = rpn(rotated=rotated), truth(rotated)
    anchors, _, _ = outputs(module, features())
    labels, boxes = module.label_and_sample_anchors(anchors, gt)
    joined: Any = type(anchors[0]).cat(anchors)
    for image, own_labels, own_boxes in zip(gt, labels, boxes, strict=True):
        overlaps = box_kind(5 if rotated else 4).pairwise_iou(image.gt_boxes, joined)
        matches, wanted = module.anchor_matcher(overlaps)
        assert own_labels.equal(wanted)
        assert own_boxes.equal(image.gt_boxes.tensor[matches])


@pytest.mark.parametrize("rotated", [False, True])
def test_images_without_ground_truth_are_all_background(rotated: bool) -> None:
    module = rpn(rotated=rotated)
    anchors, _, _ = outputs(module, features())
    kind: Any = RotatedBoxes if rotated else Boxes
    values = 5 if rotated else 4
    gt = [Instances(size, gt_boxes=kind(torch.zeros(0, values))) for size in SIZES]
    labels, boxes = module.label_and_sample_anchors(anchors, gt)
    assert all((image == 0).all() for image in labels)
    assert all(image.shape == (len(labels[0]), values) for image in boxes)


@pytest.mark.parametrize("pixels", [0, 4, 16, 100_000])
def test_anchors_that_leave_the_image_by_more_are_not_drawn(pixels: int) -> None:
    module = rpn(anchor_boundary_thresh=float(pixels))
    anchors, _, _ = outputs(module, features())
    labels, _ = module.label_and_sample_anchors(anchors, truth())
    plain, _ = rpn().label_and_sample_anchors(anchors, truth())
    rows = Boxes.cat(anchors).tensor.tolist()
    for (height, width), own, free in zip(SIZES, labels, plain, strict=True):
        for (x1, y1, x2, y2), label, otherwise in zip(
            rows, own.tolist(), free.tolist(), strict=True
        ):
            leaves = max(-x1, -y1, x2 - width, y2 - height) > pixels
            assert label == (-1 if leaves else otherwise)


def test_samples_hold_the_wanted_share_of_foreground() -> None:
    module = rpn(batch_size_per_image=8, positive_fraction=0.25)
    anchors, _, _ = outputs(module, features())
    gt = [Instances(size, gt_boxes=Boxes.cat(anchors)[torch.arange(0, 100, 9)]) for size in SIZES]
    with EventStorage() as storage:
        _, losses = module.train()(image_list(), features(), gt)
    assert storage.latest()["rpn/num_pos_anchors"][0] == 2
    assert storage.latest()["rpn/num_neg_anchors"][0] == 6
    assert all(loss.isfinite() for loss in losses.values())


def test_a_subclass_may_draw_on_its_own() -> None:
    class FirstTen(RPN):
        def _subsample_labels(self, labels: Tensor) -> Tensor:
            labels[10:] = -1
            return labels

    module = rpn()
    module.__class__ = FirstTen
    anchors, _, _ = outputs(module, features())
    labels, _ = module.label_and_sample_anchors(anchors, truth())
    assert all((image[10:] == -1).all() for image in labels)


@pytest.mark.usefixtures("as_on_a_device")
def test_a_device_that_must_not_be_asked_has_the_same_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    got = rpn().train()(image_list(), features(), truth())[1]
    monkeypatch.undo()
    wanted = rpn().train()(image_list(), features(), truth())[1]
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_images_have_their_proposals_whatever_else_is_in_the_batch(
    rotated: bool, training: bool
) -> None:
    module = rpn(rotated=rotated).train(training)
    maps, gt = features(), truth(rotated)
    together, losses = module(image_list(), maps, gt)
    reverse = {name: each.flip(0) for name, each in maps.items()}
    swapped, other_losses = module(image_list(1, 0), reverse, gt[::-1])
    torch.testing.assert_close(other_losses, losses)
    for image in range(2):
        own = {name: each[image : image + 1] for name, each in maps.items()}
        (alone,), _ = module(image_list(image), own, [gt[image]])
        for other in (together[image], swapped[1 - image]):
            assert other.image_size == SIZES[image]
            torch.testing.assert_close(
                other.proposal_boxes.tensor, alone.proposal_boxes.tensor, rtol=1e-4, atol=1e-3
            )
            torch.testing.assert_close(other.objectness_logits, alone.objectness_logits)
    assert len(together[0]) > 0


def test_losses_of_a_batch_are_the_means_of_those_of_its_images() -> None:
    module, maps, gt = rpn().train(), features(), truth()
    _, together = module(image_list(), maps, gt)
    alone = [
        module(image_list(image), {n: each[image : image + 1] for n, each in maps.items()}, [own])[
            1
        ]
        for image, own in enumerate(gt)
    ]
    for name, loss in together.items():
        torch.testing.assert_close(loss, sum(each[name] for each in alone) / 2)


@pytest.mark.parametrize("rotated", [False, True])
def test_as_a_function_of_tensors_it_proposes_the_same(rotated: bool) -> None:
    module, maps = rpn(rotated=rotated).eval(), features()
    proposals, losses = module(image_list(), maps)
    assert losses == {}
    regions = module.propose(maps, torch.tensor(SIZES))
    assert regions.batch_index.tolist() == [
        image for image, found in enumerate(proposals) for _ in range(len(found))
    ]
    assert regions.boxes.equal(torch.cat([found.proposal_boxes.tensor for found in proposals]))
    assert regions.scores.equal(torch.cat([found.objectness_logits for found in proposals]))
    assert not regions.boxes.requires_grad


@pytest.mark.parametrize("training", [False, True])
def test_training_and_testing_have_their_own_limits(training: bool) -> None:
    module = rpn(pre_nms_topk=(7, 3), post_nms_topk=(5, 100), nms_thresh=1.0).train(training)
    proposals, _ = module(image_list(), features(), truth())
    wanted = 5 if training else 6  # 5 of 14 on two levels, or all of 6
    assert [len(found) for found in proposals] == [wanted] * 2


def test_gradients_reach_the_head_by_losses_and_not_by_proposals() -> None:
    module, maps = rpn().train(), features()
    leaves = {name: each.requires_grad_() for name, each in maps.items()}
    proposals, losses = module(image_list(), leaves, truth())
    assert not any(
        found.proposal_boxes.tensor.requires_grad or found.objectness_logits.requires_grad
        for found in proposals
    )
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.rpn_head.parameters())
    assert all(each.grad is not None for each in leaves.values())


@pytest.mark.parametrize("rotated", [False, True])
def test_mixed_precision_has_nearly_the_losses_of_single_precision(rotated: bool) -> None:
    module, maps, gt = rpn(rotated=rotated).train(), features(), truth(rotated)
    _, losses = module(image_list(), maps, gt)
    with torch.autocast("cpu", torch.bfloat16):
        proposals, mixed = module(image_list(), maps, gt)
    for name, loss in losses.items():
        assert mixed[name].item() == pytest.approx(loss.item(), rel=0.05)
    assert all(found.proposal_boxes.tensor.dtype == torch.float32 for found in proposals)
    sum(mixed.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_background_trains_no_deltas() -> None:
    module, maps = rpn().train(), features()
    gt = [Instances(size, gt_boxes=Boxes(torch.zeros(0, 4))) for size in SIZES]
    _, losses = module(image_list(), maps, gt)
    sum(losses.values()).backward()
    deltas, logits = module.rpn_head.anchor_deltas, module.rpn_head.objectness_logits
    assert deltas.weight.grad is not None
    assert not deltas.weight.grad.any()
    assert logits.weight.grad is not None
    assert logits.weight.grad.any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_stop_training(value: float) -> None:
    maps = features()
    maps["p3"][1, :, 2, 2] = value
    with pytest.raises(FloatingPointError, match="training has diverged. Lower the learning rate"):
        rpn().train()(image_list(), maps, truth())
    first, second = rpn().eval()(image_list(), maps)[0]
    assert len(first) > 0
    assert all(found.proposal_boxes.tensor.isfinite().all() for found in (first, second))


def test_training_without_ground_truth_says_what_lacks() -> None:
    with pytest.raises(ValueError, match="the RPN wants gt_instances while training, got None"):
        rpn().train()(image_list(), features())


def test_an_unknown_loss_weight_or_loss_type_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"\['loss_cls'\]; the losses are \['loss_rpn_cls', 'loss_"
    ):
        rpn(loss_weight={"loss_cls": 1.0})
    module = rpn(box_reg_loss_type="l1").train()
    with pytest.raises(ValueError, match="unknown box_reg_loss_type 'l1'"):
        module(image_list(), features(), truth())


def test_a_number_weighs_both_losses() -> None:
    _, plain = rpn().train()(image_list(), features(), truth())
    _, weighted = rpn(loss_weight=3.0).train()(image_list(), features(), truth())
    torch.testing.assert_close(weighted, {name: 3 * loss for name, loss in plain.items()})


def test_the_head_treats_every_map_with_the_same_weights() -> None:
    head = StandardRPNHead(in_channels=4, num_anchors=3, box_dim=5, conv_dims=[-1, 6])
    maps = list(features().values())
    logits, deltas = head(maps)
    for index, each in enumerate(maps):
        (own_logits,), (own_deltas,) = head([each])
        assert own_logits.equal(logits[index])
        assert own_deltas.equal(deltas[index])
        assert own_logits.shape == (2, 3, *each.shape[2:])
        assert own_deltas.shape == (2, 15, *each.shape[2:])


def test_the_head_starts_with_small_weights_and_no_bias() -> None:
    torch.manual_seed(0)
    head = StandardRPNHead(in_channels=64, num_anchors=3)
    for layer in (head.conv, head.objectness_logits, head.anchor_deltas):
        assert not layer.bias.any()
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("dims", [[], [0], [8, -2]])
def test_widths_that_are_none_are_shown(dims: list[int]) -> None:
    message = rf"conv_dims wants positive widths or -1, got \[{', '.join(map(str, dims))}\]"
    with pytest.raises(ValueError, match=message):
        StandardRPNHead(in_channels=4, num_anchors=1, conv_dims=dims)


SHAPES = {f"p{level}": ShapeSpec(channels=4, stride=2**level) for level in (3, 4, 5)}


def config(**options: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RPN"
    cfg.MODEL.RPN.IN_FEATURES = ["p3", "p4"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    for key, value in options.items():
        setattr(cfg.MODEL.RPN, key, value)
    return cfg


def test_a_config_sets_every_option() -> None:
    cfg = config(
        IOU_THRESHOLDS=[0.2, 0.6],
        IOU_LABELS=[-1, 0, 1],
        BBOX_REG_WEIGHTS=(1.0, 2.0, 3.0, 4.0),
        BATCH_SIZE_PER_IMAGE=7,
        POSITIVE_FRACTION=0.125,
        PRE_NMS_TOPK_TRAIN=11,
        PRE_NMS_TOPK_TEST=12,
        POST_NMS_TOPK_TRAIN=13,
        POST_NMS_TOPK_TEST=14,
        NMS_THRESH=0.65,
        BOUNDARY_THRESH=3,
        LOSS_WEIGHT=2.0,
        BBOX_REG_LOSS_WEIGHT=5.0,
        BBOX_REG_LOSS_TYPE="giou",
        SMOOTH_L1_BETA=0.25,
        CONV_DIMS=[6, -1],
    )
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 9
    module: Any = build_proposal_generator(cfg, SHAPES)
    assert type(module) is RPN
    assert module.in_features == ["p3", "p4"]
    assert module.anchor_matcher.thresholds == [0.2, 0.6]
    assert module.anchor_matcher.labels == [-1, 0, 1]
    assert module.anchor_matcher.allow_low_quality_matches
    assert module.box2box_transform.weights == (1, 2, 3, 4)
    assert (module.batch_size_per_image, module.positive_fraction) == (7, 0.125)
    assert module.pre_nms_topk == {True: 11, False: 12}
    assert module.post_nms_topk == {True: 13, False: 14}
    assert (module.nms_thresh, module.min_box_size, module.anchor_boundary_thresh) == (0.65, 9, 3)
    assert module.loss_weight == {"loss_rpn_cls": 2.0, "loss_rpn_loc": 10.0}
    assert (module.box_reg_loss_type, module.smooth_l1_beta) == ("giou", 0.25)
    assert [layer.out_channels for layer in module.rpn_head.conv] == [6, 6]
    assert module.anchor_generator.strides == [8, 16]


def test_a_config_may_ask_for_no_generator_or_one_that_does_not_exist() -> None:
    cfg = config()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_proposal_generator(cfg, SHAPES) is None
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RPM"
    with pytest.raises(KeyError, match="RPM"):
        build_proposal_generator(cfg, SHAPES)
    with pytest.raises(KeyError, match="NoHead"):
        build_rpn_head(config(HEAD_NAME="NoHead"), list(SHAPES.values()))


def test_a_registered_head_is_built_for_the_chosen_maps() -> None:
    @RPN_HEAD_REGISTRY.register()
    def rpn_head_of_mine(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
        head = nn.Identity()
        head.strides = [shape.stride for shape in input_shape]  # type: ignore[assignment]  # any
        return head

    module: Any = build_proposal_generator(config(HEAD_NAME="rpn_head_of_mine"), SHAPES)
    assert module.rpn_head.strides == [8, 16]


def test_maps_that_a_config_cannot_have_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"MODEL\.RPN\.IN_FEATURES is \['p3', 'p9'\], but the back"
    ):
        build_proposal_generator(config(IN_FEATURES=["p3", "p9"]), SHAPES)
    mixed = {**SHAPES, "p4": ShapeSpec(channels=8, stride=16)}
    with pytest.raises(ValueError, match="the RPN head wants feature maps of one known width"):
        build_proposal_generator(config(), mixed)
