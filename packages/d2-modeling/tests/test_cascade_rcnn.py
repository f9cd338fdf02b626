"""ROI heads that refine boxes in several stages."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import FastRCNNOutputLayers, ShapeSpec, build_model
from d2_modeling.batched_selection import Regions
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.events import EventStorage
from d2_modeling.matcher import Matcher
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead
from d2_structures import Boxes, ImageList, Instances

SIZE = (64, 80)
SHAPE = ShapeSpec(channels=4, height=7, width=7)


def heads(stages: int = 3, **options: Any) -> CascadeROIHeads:
    torch.manual_seed(0)
    return CascadeROIHeads(
        num_classes=2,
        batch_size_per_image=8,
        positive_fraction=0.5,
        box_in_features=["p2"],
        box_pooler=ROIPooler(7, [1 / 4], 0, "ROIAlignV2"),
        box_heads=[FastRCNNConvFCHead(SHAPE, conv_dims=[], fc_dims=[6]) for _ in range(stages)],
        box_predictors=[
            FastRCNNOutputLayers(
                ShapeSpec(channels=6),
                box2box_transform=Box2BoxTransform((10 * (k + 1),) * 2 + (5 * (k + 1),) * 2),
                num_classes=2,
                cls_agnostic_bbox_reg=True,
            )
            for k in range(stages)
        ],
        proposal_matchers=[Matcher([0.5 + 0.1 * k], [0, 1]) for k in range(stages)],
        **options,
    )


def proposals(boxes: list[list[float]]) -> Instances:
    return Instances(
        SIZE,
        proposal_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
        objectness_logits=torch.zeros(len(boxes)),
    )


def targets(boxes: list[list[float]]) -> Instances:
    tensor = torch.tensor(boxes).view(-1, 4)
    return Instances(SIZE, gt_boxes=Boxes(tensor), gt_classes=torch.arange(len(boxes)))


IMAGES = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
FEATURES = {"p2": torch.randn(1, 4, 16, 20, generator=torch.Generator().manual_seed(0))}


def small_cfg() -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.DEVICE = "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.RPN.IN_FEATURES = model.ROI_HEADS.IN_FEATURES = ["p4", "p5"]
    model.ROI_HEADS.NAME, model.ROI_BOX_HEAD.NAME = "CascadeROIHeads", "FastRCNNConvFCHead"
    model.ROI_HEADS.NUM_CLASSES = 3
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    return cfg


def test_each_stage_starts_from_the_boxes_of_the_one_before() -> None:
    module = heads().eval()
    for predictor in module.box_predictor:
        nn.init.zeros_(predictor.bbox_pred.weight)
        # One pixel to the right for the first stage's 20 pixels of width, and so on.
        predictor.bbox_pred.bias.data = torch.tensor([0.5, 0.0, 0.0, 0.0])
    with torch.no_grad():
        (found,), losses = module(IMAGES, FEATURES, [proposals([[10, 10, 30, 30]])])
    shift = 20 * (0.5 / 10 + 0.5 / 20 + 0.5 / 30)
    assert losses == {}
    expected = torch.tensor([[10 + shift, 10, 30 + shift, 30]]).expand(len(found), 4)
    torch.testing.assert_close(found.pred_boxes.tensor, expected)


def test_scores_are_the_mean_of_all_stages() -> None:
    module = heads().eval()
    scores = torch.tensor([[0.2, 0.5, 0.0], [1.0, -0.5, 0.0], [-2.0, 3.0, 0.0]])
    for predictor, bias in zip(module.box_predictor, scores, strict=True):
        nn.init.zeros_(predictor.cls_score.weight)
        predictor.cls_score.bias.data = bias
    with torch.no_grad():
        (found,), _ = module(IMAGES, FEATURES, [proposals([[10, 10, 30, 30]])])
    expected = scores.softmax(dim=1).mean(dim=0)[:2].sort(descending=True).values
    torch.testing.assert_close(found.scores, expected)


def test_later_stages_label_the_refined_boxes_anew() -> None:
    module = heads().train()
    seen: list[list[int]] = []
    for predictor in module.box_predictor:
        losses_of = predictor.losses
        predictor.losses = lambda predictions, images, losses_of=losses_of: (
            seen.append(images[0].gt_classes.tolist()) or losses_of(predictions, images)
        )
        nn.init.zeros_(predictor.bbox_pred.weight)
    boxes = [[10.0, 10, 30, 40], [10, 10, 30, 30]]  # overlaps of 2/3 and 1
    _, losses = module(IMAGES, FEATURES, [proposals(boxes)], [targets([[10, 10, 30, 30]])])
    assert sorted(seen[0]) == [0, 0, 0]  # the ground truth is a proposal too
    assert sorted(seen[1]) == [0, 0, 0]  # from 0.6 on
    assert sorted(seen[2]) == [0, 0, 2]  # from 0.7 on
    assert set(losses) == {
        f"{name}_stage{stage}" for name in ("loss_cls", "loss_box_reg") for stage in range(3)
    }


def test_features_get_the_mean_gradient_and_heads_their_own() -> None:
    boxes = [proposals([[10.0, 10, 30, 40]])]
    gt = [targets([[10.0, 10, 30, 30]])]
    features = {"p2": FEATURES["p2"].clone().requires_grad_()}
    module = heads(1).train()
    sum(module(IMAGES, features, boxes, gt)[1].values()).backward()
    alone = features["p2"].grad
    assert alone is not None
    features = {"p2": FEATURES["p2"].clone().requires_grad_()}
    twice = heads(2).train()
    for part in ("box_head", "box_predictor"):
        for stage in getattr(twice, part):
            stage.load_state_dict(getattr(module, part)[0].state_dict())
    for predictor in twice.box_predictor:
        predictor.box2box_transform = module.box_predictor[0].box2box_transform
        nn.init.zeros_(predictor.bbox_pred.weight)  # so that both stages see the same boxes
        nn.init.zeros_(predictor.bbox_pred.bias)
    nn.init.zeros_(module.box_predictor[0].bbox_pred.weight)
    module.zero_grad()
    base = {"p2": FEATURES["p2"].clone().requires_grad_()}
    sum(module(IMAGES, base, boxes, gt)[1].values()).backward()
    sum(twice(IMAGES, features, boxes, gt)[1].values()).backward()
    torch.testing.assert_close(features["p2"].grad, base["p2"].grad, rtol=1e-4, atol=1e-7)
    wanted = module.box_head[0].fc1.weight.grad
    torch.testing.assert_close(twice.box_head[0].fc1.weight.grad, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gt", [[], [[4.0, 4, 40, 44]]])
def test_a_configured_cascade_trains_all_of_its_parameters(gt: list[list[float]]) -> None:
    torch.manual_seed(0)
    model = build_model(small_cfg()).train()
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    with EventStorage() as storage:
        losses = model([{"image": image, "instances": targets(gt)}])
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    latest = storage.latest()
    assert {"stage0/fast_rcnn/cls_accuracy", "stage2/roi_head/num_bg_samples"} <= set(latest)


def test_a_detecting_cascade_holds_no_function_that_a_trace_cannot_save() -> None:
    detecting = heads().eval()
    features = {"p2": torch.randn(1, 4, 8, 8, requires_grad=True)}
    ((scores, _),) = [detecting._run_stage([features["p2"]], [proposals([[0.0, 0, 20, 20]])], 0)]
    functions, names = [scores.grad_fn], set()
    while functions:
        function = functions.pop()
        if function is not None:
            names.add(type(function).__name__)
            functions += [above for above, _ in function.next_functions]
    assert "AddmmBackward0" in names
    assert not any("ScaledGradient" in name for name in names)


def test_a_configured_cascade_detects() -> None:
    cfg = small_cfg()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 4
    torch.manual_seed(0)
    model: Any = build_model(cfg).eval()
    with torch.no_grad():
        (output,) = model([{"image": torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)}])
    assert len(output["instances"]) == 4
    weights = [predictor.box2box_transform.weights for predictor in model.roi_heads.box_predictor]
    assert weights == [(10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)]
    assert [m.thresholds for m in model.roi_heads.proposal_matchers] == [[0.5], [0.6], [0.7]]


def test_images_without_proposals_have_no_detections() -> None:
    with torch.no_grad():
        (found,), _ = heads().eval()(IMAGES, FEATURES, [proposals([])])
    assert len(found) == 0


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="instead of proposal_matcher"):
        heads(proposal_matcher=Matcher([0.5], [0, 1]))
    with pytest.raises(ValueError, match="train_on_pred_boxes"):
        heads(train_on_pred_boxes=True)
    with pytest.raises(ValueError, match="at least one"):
        heads(0)
    for key, value, message in (
        ("ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False, "CLS_AGNOSTIC_BBOX_REG"),
        ("ROI_BOX_CASCADE_HEAD.IOUS", (0.5, 0.6), "3 BBOX_REG_WEIGHTS for 2 IOUS"),
        ("ROI_BOX_CASCADE_HEAD.IOUS", (0.4, 0.6, 0.7), "IOU_THRESHOLDS"),
    ):
        cfg = small_cfg()
        cfg.merge_from_list([f"MODEL.{key}", value])
        with pytest.raises(ValueError, match=message):
            build_model(cfg)


def refining(stages: int = 3, spread: float = 12.0) -> CascadeROIHeads:
    """Heads whose boxes move by many pixels; some leave the image unless the spread is small."""
    module = heads(stages)
    for predictor in module.box_predictor:
        nn.init.normal_(predictor.bbox_pred.weight, std=spread)
        nn.init.normal_(predictor.cls_score.weight, std=1.0)
    return module


def many_proposals(count: int, seed: int = 0) -> Instances:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 50
    size = 8 + torch.rand(count, 2, generator=generator) * 20
    return proposals(torch.cat([low, low + size], dim=1).tolist())


def clipped(box: list[float]) -> list[float]:
    limits = (SIZE[1], SIZE[0], SIZE[1], SIZE[0])
    return [min(max(value, 0.0), limit) for value, limit in zip(box, limits, strict=True)]


def test_stages_train_on_the_boxes_and_ground_truth_of_each(iou_of_two: Any) -> None:
    module = refining(spread=2.0).train()
    seen: list[tuple[Any, Instances]] = []
    for predictor in module.box_predictor:
        losses_of = predictor.losses
        predictor.losses = lambda predictions, images, losses_of=losses_of: (
            seen.append((predictions, images[0])) or losses_of(predictions, images)
        )
    gt = targets([[10.0, 10, 30, 30], [40, 20, 70, 50]])
    _, losses = module(IMAGES, FEATURES, [many_proposals(12)], [gt])
    truths = gt.gt_boxes.tensor.tolist()
    matched: set[int] = set()
    for stage in (1, 2):
        (_, deltas), before = seen[stage - 1]
        transform = module.box_predictor[stage - 1].box2box_transform
        decoded = transform.apply_deltas(deltas.detach(), before.proposal_boxes.tensor).tolist()
        inside = [clipped(box) for box in decoded]
        wanted = [box for box in inside if box[2] > box[0] and box[3] > box[1]]
        image = seen[stage][1]
        assert image.proposal_boxes.tensor.tolist() == wanted
        threshold = 0.5 + 0.1 * stage
        for box, kind, truth in zip(
            wanted, image.gt_classes.tolist(), image.gt_boxes.tensor.tolist(), strict=True
        ):
            overlaps = [iou_of_two(box, other) for other in truths]
            best = max(overlaps)
            assert kind == (overlaps.index(best) if best >= threshold else 2)
            assert truth == truths[overlaps.index(best)]
            matched.add(overlaps.index(best))
    assert matched == {0, 1}
    for stage, (predictions, image) in enumerate(seen):
        again = FastRCNNOutputLayers.losses(module.box_predictor[stage], predictions, [image])
        for name, loss in again.items():
            torch.testing.assert_close(losses[f"{name}_stage{stage}"], loss)


def test_as_a_function_of_tensors_it_refines_boxes_that_leave_the_image_alike() -> None:
    module, image = refining().eval(), many_proposals(12)
    regions = Regions(
        image.proposal_boxes.tensor, torch.zeros(12), torch.zeros(12, dtype=torch.int64)
    )
    with torch.no_grad():
        (found,), _ = module(IMAGES, FEATURES, [image])
        got = module.predict_tensors(FEATURES, regions, torch.tensor([SIZE]))
    torch.testing.assert_close(got.detections.boxes, found.pred_boxes.tensor)
    torch.testing.assert_close(got.detections.scores, found.scores)
    assert got.detections.classes.equal(found.pred_classes)
    assert (found.pred_boxes.tensor[:, :2] == 0).any()  # at the edge
    assert got.mask_probabilities is None
    assert got.keypoints is None


def test_the_last_stage_says_what_is_a_detection() -> None:
    module, image = refining().eval(), many_proposals(12)

    def found(**options: Any) -> Instances:
        for predictor in module.box_predictor[:-1]:
            predictor.test_score_thresh, predictor.test_topk_per_image = 1.0, 0  # unused
        last = module.box_predictor[-1]
        last.test_score_thresh, last.test_nms_thresh, last.test_topk_per_image = 0.0, 1.0, 100
        for name, value in options.items():
            setattr(last, name, value)
        with torch.no_grad():
            return module(IMAGES, FEATURES, [image])[0][0]

    every = found()
    middle = every.scores.median().item()
    better = found(test_score_thresh=middle)
    assert better.scores.equal(every.scores[every.scores > middle])
    assert found(test_topk_per_image=3).scores.equal(every.scores[:3])
    assert len(found(test_nms_thresh=0.1)) < len(every)


@pytest.mark.parametrize("stages", [1, 2])
def test_images_are_refined_as_alone(stages: int) -> None:
    module = refining(stages).eval()
    maps = {"p2": torch.randn(3, 4, 16, 20, generator=torch.Generator().manual_seed(1))}
    images = [many_proposals(5, 1), many_proposals(0), many_proposals(7, 2)]
    with torch.no_grad():
        together, _ = module(ImageList(torch.zeros(3, 3, *SIZE), [SIZE] * 3), maps, images)
        for index, image in enumerate(images):
            own = {"p2": maps["p2"][index : index + 1]}
            (alone,), _ = module(IMAGES, own, [image])
            got = together[index]
            torch.testing.assert_close(got.scores, alone.scores)
            torch.testing.assert_close(got.pred_boxes.tensor, alone.pred_boxes.tensor)
