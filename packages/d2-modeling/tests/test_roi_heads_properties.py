"""Proposals as they are sampled for training, and heads as they work on images of a batch."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling import FastRCNNOutputLayers, ShapeSpec
from d2_modeling.batched_selection import Regions, batch_index_of
from d2_modeling.box_regression import Box2BoxTransform, Box2BoxTransformRotated
from d2_modeling.events import EventStorage
from d2_modeling.matcher import Matcher
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
    Res5ROIHeads,
    ROIHeads,
    RROIHeads,
    ScaledGradient,
    StandardROIHeads,
)
from d2_structures import BitMasks, Boxes, ImageList, Instances, Keypoints, RotatedBoxes

Draw = Callable[..., Tensor]

SIZE = (64, 64)
K = 3
POOLED = ShapeSpec(channels=4, height=2, width=2)


def predictor(*, channels: int = 6, rotated: bool = False, **options: Any) -> FastRCNNOutputLayers:
    transform: Any = Box2BoxTransform((10, 10, 5, 5))
    if rotated:
        transform = Box2BoxTransformRotated((10, 10, 5, 5, 1))
    layers = FastRCNNOutputLayers(
        ShapeSpec(channels=channels), box2box_transform=transform, num_classes=K, **options
    )
    nn.init.normal_(layers.cls_score.weight, std=1.0)
    nn.init.normal_(layers.bbox_pred.weight, std=0.3)
    return layers


def pooler(kind: str = "ROIAlignV2") -> ROIPooler:
    return ROIPooler(2, [1 / 4], 2, kind)


SAMPLING: dict[str, Any] = {
    "num_classes": K,
    "batch_size_per_image": 8,
    "positive_fraction": 0.5,
    "proposal_matcher": Matcher([0.5], [0, 1]),
}


def box_head() -> FastRCNNConvFCHead:
    return FastRCNNConvFCHead(POOLED, conv_dims=[], fc_dims=[6])


def standard(*, rotated: bool = False, **options: Any) -> StandardROIHeads:
    torch.manual_seed(0)
    heads: Any = RROIHeads if rotated else StandardROIHeads
    settings = {
        **SAMPLING,
        "box_in_features": ["p2"],
        "box_pooler": pooler("ROIAlignRotated" if rotated else "ROIAlignV2"),
        "box_head": box_head(),
        "box_predictor": predictor(rotated=rotated),
    }
    made: StandardROIHeads = heads(**{**settings, **options})
    return made


def with_masks_and_keypoints(**options: Any) -> StandardROIHeads:
    torch.manual_seed(1)
    return standard(
        mask_in_features=["p2"],
        mask_pooler=pooler(),
        mask_head=MaskRCNNConvUpsampleHead(POOLED, num_classes=K, conv_dims=[5]),
        keypoint_in_features=["p2"],
        keypoint_pooler=pooler(),
        keypoint_head=KRCNNConvDeconvUpsampleHead(POOLED, num_keypoints=2, conv_dims=[5]),
        **options,
    )


def cascade(stages: int = 2, **options: Any) -> CascadeROIHeads:
    torch.manual_seed(0)
    settings = {name: value for name, value in SAMPLING.items() if name != "proposal_matcher"}
    return CascadeROIHeads(
        **{**settings, **options},
        box_in_features=["p2"],
        box_pooler=pooler(),
        box_heads=[box_head() for _ in range(stages)],
        box_predictors=[predictor(cls_agnostic_bbox_reg=True) for _ in range(stages)],
        proposal_matchers=[Matcher([0.5], [0, 1]) for _ in range(stages)],
    )


def res5(**options: Any) -> Res5ROIHeads:
    torch.manual_seed(0)
    return Res5ROIHeads(
        **{**SAMPLING, **options},
        in_features=["p2"],
        pooler=pooler(),
        res5=[nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()],
        box_predictor=predictor(),
        mask_head=MaskRCNNConvUpsampleHead(ShapeSpec(channels=6), num_classes=K, conv_dims=[5]),
    )


def features(images: int = 2) -> dict[str, Tensor]:
    return {"p2": torch.randn(images, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


def image_list(count: int = 2) -> ImageList:
    return ImageList(torch.zeros(count, 3, *SIZE), [SIZE] * count)


@pytest.fixture(scope="session")
def proposals_of(random_boxes: Draw, random_rotated_boxes: Draw) -> Callable[..., Instances]:
    """Proposals of one image: number, seed, whether they are rotated."""

    def proposals(count: int, seed: int = 0, rotated: bool = False) -> Instances:
        draw, kind = (random_rotated_boxes, RotatedBoxes) if rotated else (random_boxes, Boxes)
        boxes = draw(count, seed, 40.0)
        return Instances(SIZE, proposal_boxes=kind(boxes), objectness_logits=torch.zeros(count))

    return proposals


def truth(count: int, *, rotated: bool = False) -> Instances:
    boxes = torch.tensor([[5.0, 5, 25, 25], [30, 30, 60, 50], [0, 40, 20, 60]])[:count]
    if rotated:
        angle = torch.full((count, 1), 30.0)
        boxes = torch.cat([boxes[:, :2] + 10, boxes[:, 2:] - boxes[:, :2], angle], dim=1)
        return Instances(SIZE, gt_boxes=RotatedBoxes(boxes), gt_classes=torch.arange(count))
    bitmaps = torch.zeros(count, *SIZE, dtype=torch.bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.int().tolist(), strict=True):
        bitmap[y1:y2, x1:x2] = True
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    points = torch.cat([centre, torch.full((count, 1, 1), 2.0)], dim=2).expand(-1, 2, -1)
    return Instances(
        SIZE,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.arange(count),
        gt_masks=BitMasks(bitmaps),
        gt_keypoints=Keypoints(points.clone()),
        gt_weight=torch.arange(count) / 7,
        area=torch.ones(count),
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 20), st.integers(0, 3), st.integers(0, 10**6), st.booleans())
def test_each_sample_is_a_proposal_with_the_ground_truth_it_overlaps(
    proposals_of: Any, iou_of_two: Any, count: int, objects: int, seed: int, append: bool
) -> None:
    torch.manual_seed(seed)
    given_proposals, gt = proposals_of(count, seed), truth(objects)
    heads = standard(proposal_append_gt=append)
    (sample,) = heads.label_and_sample_proposals([given_proposals], [gt])
    known = given_proposals.proposal_boxes.tensor.tolist()
    known += gt.gt_boxes.tensor.tolist() if append else []
    truths = gt.gt_boxes.tensor.tolist()
    labels = []
    for box in known:
        overlaps = [iou_of_two(box, other) for other in truths]
        best = max(overlaps, default=0.0)
        labels.append(overlaps.index(best) if best >= 0.5 else K)
    foreground = sum(label < K for label in labels)
    assert (sample.gt_classes < K).sum() == min(foreground, 4)
    assert len(sample) == min(8, min(foreground, 4) + labels.count(K))
    rows = [known.index(box) for box in sample.proposal_boxes.tensor.tolist()]
    assert len(set(rows)) == len(rows)
    assert sample.gt_classes.tolist() == [labels[row] for row in rows]
    assert sample.gt_classes.dtype == torch.int64
    assert sample.has("gt_boxes") == (objects > 0)
    for row, kind in enumerate(sample.gt_classes.tolist()):
        if kind < K:
            assert sample.gt_boxes.tensor[row].equal(gt.gt_boxes.tensor[kind])
            assert sample.gt_masks.tensor[row].equal(gt.gt_masks.tensor[kind])
            assert sample.gt_keypoints.tensor[row].equal(gt.gt_keypoints.tensor[kind])
            assert sample.gt_weight[row] == gt.gt_weight[kind]
    assert not sample.has("area")
    assert len(given_proposals) == count  # what was given stays as it was
    assert not given_proposals.has("gt_classes")


def test_foreground_comes_first_and_nothing_carries_a_gradient(proposals_of: Any) -> None:
    image = proposals_of(20)
    image.proposal_boxes.tensor.requires_grad_()
    (sample,) = standard().label_and_sample_proposals([image], [truth(3)])
    foreground = sample.gt_classes < K
    number = int(foreground.sum())
    assert number > 0
    assert foreground.tolist() == [True] * number + [False] * (len(sample) - number)
    assert not sample.proposal_boxes.tensor.requires_grad
    image.proposal_boxes.tensor.requires_grad_(False)


def test_a_class_is_that_of_the_ground_truth_and_not_its_place() -> None:
    gt = truth(3)
    gt.gt_classes = torch.tensor([2, 2, 0])
    none = Instances(
        SIZE, proposal_boxes=Boxes(torch.zeros(0, 4)), objectness_logits=torch.zeros(0)
    )
    (sample,) = standard().label_and_sample_proposals([none], [gt])
    pairs = zip(sample.proposal_boxes.tensor.tolist(), sample.gt_classes.tolist(), strict=True)
    boxes = gt.gt_boxes.tensor.tolist()
    assert sorted(pairs) == sorted(zip(boxes, [2, 2, 0], strict=True))


def test_a_field_that_proposals_have_is_not_overwritten(proposals_of: Any) -> None:
    image, gt = proposals_of(5), truth(2)
    image.gt_weight = torch.full((5,), 9.0)
    (sample,) = standard().label_and_sample_proposals([image], [gt])
    from_proposals = sample.objectness_logits == 0  # those of ground truth are sure
    assert (sample.gt_weight[from_proposals] == 9).all()


def test_images_are_sampled_together_as_alone(proposals_of: Any) -> None:
    images, targets = (
        [proposals_of(20, 1), proposals_of(0), proposals_of(9, 2)],
        [
            truth(2),
            truth(0),
            truth(3),
        ],
    )
    heads = standard()
    torch.manual_seed(4)
    with EventStorage() as storage:
        together = heads.label_and_sample_proposals(images, targets)
    torch.manual_seed(4)
    for got, image, gt in zip(together, images, targets, strict=True):
        (alone,) = heads.label_and_sample_proposals([image], [gt])
        assert got.proposal_boxes.tensor.equal(alone.proposal_boxes.tensor)
        assert got.gt_classes.equal(alone.gt_classes)
    latest = {name: value for name, (value, _) in storage.latest().items()}
    background = sum((image.gt_classes == K).sum().item() for image in together)
    total = sum(map(len, together))
    assert latest["roi_head/num_bg_samples"] == pytest.approx(background / 3)
    assert latest["roi_head/num_fg_samples"] == pytest.approx((total - background) / 3)
    assert heads.label_and_sample_proposals([], []) == []


def test_rotated_proposals_are_sampled_by_their_own_overlaps(proposals_of: Any) -> None:
    gt = truth(2, rotated=True)
    (sample,) = standard(rotated=True).label_and_sample_proposals(
        [proposals_of(10, rotated=True)], [gt]
    )
    assert isinstance(sample.proposal_boxes, RotatedBoxes)
    foreground = sample[sample.gt_classes < K]
    assert len(foreground) >= 2  # ground truth is among the proposals
    assert foreground.gt_boxes.tensor.equal(gt.gt_boxes.tensor[foreground.gt_classes])


def test_other_numbers_of_images_and_unknown_classes_are_named(proposals_of: Any) -> None:
    heads, gt = standard(), truth(2)
    with pytest.raises(ValueError, match="ground truth of 1 images, proposals of 2"):
        heads.label_and_sample_proposals([proposals_of(3)] * 2, [gt])
    gt.gt_classes = torch.tensor([0, K])
    with pytest.raises(ValueError, match=rf"image 0 .* class {K}, but .* num_classes={K}"):
        heads.label_and_sample_proposals([proposals_of(3)], [gt])


HEADS = [standard, with_masks_and_keypoints, cascade, res5]


@pytest.mark.parametrize("build", HEADS)
def test_images_have_their_detections_whatever_else_is_in_the_batch(
    build: Any, proposals_of: Any
) -> None:
    heads, maps = build().eval(), features(3)
    images = [proposals_of(6, 1), proposals_of(0), proposals_of(4, 2)]
    with torch.no_grad():
        together, losses = heads(image_list(3), maps, images)
        assert losses == {}
        for index, image in enumerate(images):
            own = {name: each[index : index + 1] for name, each in maps.items()}
            (alone,), _ = heads(image_list(1), own, [image])
            assert set(together[index].get_fields()) == set(alone.get_fields())
            for name, field in alone.get_fields().items():
                values, wanted = together[index].get(name), field
                if name == "pred_boxes":
                    values, wanted = values.tensor, wanted.tensor
                torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-4)
    assert [len(image) > 0 for image in together] == [True, False, True]


@pytest.mark.parametrize("build", HEADS)
def test_as_a_function_of_tensors_heads_detect_the_same(build: Any, proposals_of: Any) -> None:
    heads, maps = build().eval(), features()
    images = [proposals_of(6, 1), proposals_of(4, 2)]
    regions = Regions(
        torch.cat([image.proposal_boxes.tensor for image in images]),
        torch.zeros(10),
        batch_index_of([6, 4], torch.device("cpu")),
    )
    with torch.no_grad():
        wanted, _ = heads(image_list(), maps, images)
        found = heads.predict_tensors(maps, regions, torch.tensor([SIZE, SIZE]))
    pairs = [
        (found.detections.boxes, [image.pred_boxes.tensor for image in wanted]),
        (found.detections.scores, [image.scores for image in wanted]),
        (found.detections.classes, [image.pred_classes for image in wanted]),
    ]
    for tensor, name in ((found.mask_probabilities, "masks"), (found.keypoints, "keypoints")):
        has = wanted[0].has(f"pred_{name}")
        assert (tensor is not None) == has
        if has:
            pairs.append((tensor, [image.get(f"pred_{name}") for image in wanted]))
    for got, parts in pairs:
        torch.testing.assert_close(got, torch.cat(parts), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", HEADS)
def test_every_head_trains_and_every_parameter_gets_its_gradient(
    build: Any, proposals_of: Any
) -> None:
    heads, maps = build().train(), features()
    leaf = {name: each.requires_grad_() for name, each in maps.items()}
    images = [proposals_of(9, 1), proposals_of(0)]
    sampled, losses = heads(image_list(), leaf, images, [truth(3), truth(2)])
    assert len(sampled) == 2
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in heads.named_parameters() if p.grad is None] == []
    assert leaf["p2"].grad is not None


@pytest.mark.parametrize("build", HEADS)
def test_mixed_precision_has_nearly_the_losses_of_single_precision(
    build: Any, proposals_of: Any
) -> None:
    heads, images = build().train(), [proposals_of(9, 1), proposals_of(5, 2)]
    losses: list[dict[str, Tensor]] = []
    for mixed in (False, True):
        torch.manual_seed(3)  # the same sample
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            losses.append(heads(image_list(), features(), images, [truth(3), truth(2)])[1])
    for name, loss in losses[0].items():
        assert losses[1][name].item() == pytest.approx(loss.item(), rel=0.05, abs=0.02)
    sum(losses[1].values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads.parameters())


@pytest.mark.parametrize("build", HEADS)
def test_images_without_ground_truth_train_the_classes_alone(build: Any, proposals_of: Any) -> None:
    heads = build().train()
    images = [proposals_of(9, 1), proposals_of(5, 2)]
    _, losses = heads(image_list(), features(), images, [truth(0), truth(0)])
    sum(losses.values()).backward()
    for name, loss in losses.items():
        assert (loss > 0) == name.startswith("loss_cls")


@pytest.mark.parametrize("build", HEADS)
def test_training_without_targets_says_what_lacks(build: Any, proposals_of: Any) -> None:
    with pytest.raises(ValueError, match="the ROI heads want targets while training, got None"):
        build().train()(image_list(), features(), [proposals_of(1)] * 2)


@pytest.mark.parametrize("build", HEADS)
def test_boxes_that_are_known_get_what_the_other_heads_predict(
    build: Any, proposals_of: Any
) -> None:
    heads, maps = build().eval(), features()
    with torch.no_grad():
        (found, other), _ = heads(image_list(), maps, [proposals_of(6, 1), proposals_of(4, 2)])
        known = [
            Instances(SIZE, pred_boxes=image.pred_boxes, pred_classes=image.pred_classes)
            for image in (found, other)
        ]
        got = heads.forward_with_given_boxes(maps, known)
    for image, wanted in zip(got, (found, other), strict=True):
        for name in ("pred_masks", "pred_keypoints", "pred_keypoint_heatmaps"):
            assert image.has(name) == wanted.has(name)
            if image.has(name):
                torch.testing.assert_close(image.get(name), wanted.get(name))
    with pytest.raises(ValueError, match=r"need pred_boxes and pred_classes, got the fields \['ob"):
        heads.forward_with_given_boxes(maps, [proposals_of(1)])
    known[1].remove("pred_classes")
    with pytest.raises(ValueError, match=r"and pred_classes, got the fields \['pred_boxes'"):
        heads.forward_with_given_boxes(maps, [known[1]])
    with pytest.raises(ValueError, match=r"is for inference; call eval\(\) first"):
        heads.train().forward_with_given_boxes(maps, known)


def test_heads_may_be_turned_off_and_on_again(proposals_of: Any) -> None:
    heads = with_masks_and_keypoints().eval()
    heads.mask_on = False
    assert heads.mask_branch is None
    assert heads.keypoint_branch is not None
    with torch.no_grad():
        (found, _), _ = heads(image_list(), features(), [proposals_of(3)] * 2)
        assert not found.has("pred_masks")
        heads.mask_on = True
        (found, _), _ = heads(image_list(), features(), [proposals_of(3)] * 2)
    assert found.has("pred_masks")
    assert found.has("pred_keypoints")


def test_mask_features_can_be_had_before_the_mask_head(proposals_of: Any) -> None:
    """As the documentation takes a model apart."""
    heads, maps = with_masks_and_keypoints().eval(), features()
    seen: list[Tensor] = []
    heads.mask_head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        instances, _ = heads(image_list(), maps, [proposals_of(3, 1), proposals_of(2, 2)])
        inputs = [maps[name] for name in heads.in_features]
        mask_features = heads.mask_pooler(inputs, [image.pred_boxes for image in instances])
    assert mask_features.equal(seen[0])


def test_a_head_without_a_pooler_gets_the_maps_by_name(proposals_of: Any) -> None:
    seen: list[Any] = []

    class Watching(nn.Module):
        def forward(self, x: Mapping[str, Tensor], instances: list[Instances]) -> Any:
            seen.append(x)
            return {"loss_mine": x["p2"].sum()} if self.training else instances

    heads = standard(mask_in_features=["p2"], mask_head=Watching())
    maps = features()
    _, losses = heads.train()(image_list(), maps, [proposals_of(3)] * 2, [truth(1)] * 2)
    assert losses["loss_mine"] == maps["p2"].sum()
    heads.eval()(image_list(), maps, [proposals_of(3)] * 2)
    assert all(set(given_maps) == {"p2"} and given_maps["p2"] is maps["p2"] for given_maps in seen)


def test_each_head_gets_what_its_own_pooler_gives(proposals_of: Any) -> None:
    heads, maps = with_masks_and_keypoints().eval(), features()
    kinds = {"box": "ROIAlignV2", "mask": "ROIAlign", "keypoint": "ROIPool"}
    seen: dict[str, Tensor] = {}
    for name, kind in kinds.items():
        setattr(heads, f"{name}_pooler", pooler(kind))

        def note(_: Any, arguments: Any, name: str = name) -> None:
            seen[name] = arguments[0]

        getattr(heads, f"{name}_head").register_forward_pre_hook(note)
    proposals = [proposals_of(3, 1), proposals_of(2, 2)]
    with torch.no_grad():
        found, _ = heads(image_list(), maps, proposals)
    boxes = {"box": [image.proposal_boxes for image in proposals]}
    for name, kind in kinds.items():
        own = boxes.get(name, [image.pred_boxes for image in found])
        assert seen[name].equal(pooler(kind)([maps["p2"]], own))


def test_the_mask_head_behind_res5_trains_on_the_foreground_of_all_images(
    proposals_of: Any,
) -> None:
    heads, maps = res5().train(), features()
    seen: list[Any] = []
    heads.mask_head.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments))
    images = [proposals_of(9, 1), proposals_of(9, 2)]
    sampled, _ = heads(image_list(), maps, images, [truth(2), truth(3)])
    foreground = [image[image.gt_classes < K] for image in sampled]
    assert all(0 < len(own) < len(image) for own, image in zip(foreground, sampled, strict=True))
    wanted = heads.res5(heads.pooler([maps["p2"]], [image.proposal_boxes for image in foreground]))
    regions, instances = seen
    torch.testing.assert_close(regions, wanted)
    assert [len(image) for image in instances] == [len(image) for image in foreground]


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
def test_maps_without_their_head_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{kind}_in_features was given without {kind}_head"):
        standard(**{f"{kind}_in_features": ["p2"], f"{kind}_pooler": pooler()})


def test_rotated_heads_refuse_what_they_cannot_do() -> None:
    with pytest.raises(
        ValueError, match=r"needs a box_pooler of type 'ROIAlignRotated' .* got 'RO"
    ):
        standard(rotated=True, box_pooler=pooler())
    with pytest.raises(ValueError, match="heads for rotated boxes have neither masks nor keypoint"):
        standard(
            rotated=True,
            mask_in_features=["p2"],
            mask_head=MaskRCNNConvUpsampleHead(POOLED, num_classes=K, conv_dims=[5]),
        )


def test_the_base_class_has_no_forward() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ROIHeads(**SAMPLING)


def test_a_gradient_is_scaled_and_its_values_stay() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, dtype=torch.float64)
    scaled = ScaledGradient.apply(x, 0.25)
    assert scaled.equal(x)
    (scaled * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights / 4)


def test_later_stages_see_clipped_boxes_and_in_training_no_empty_ones(proposals_of: Any) -> None:
    heads = cascade(2)
    boxes = [
        torch.tensor([[-9.0, -9, 20, 30], [70, 70, 90, 90], [5, 5, 9, 99]], requires_grad=True),
        torch.zeros(0, 4),
    ]
    for training, wanted in (
        (True, [[0, 0, 20, 30], [5, 5, 9, 64]]),
        (False, [[0, 0, 20, 30], [64, 64, 64, 64], [5, 5, 9, 64]]),
    ):
        first, second = heads.train(training)._create_proposals_from_boxes(boxes, [SIZE, SIZE])
        assert first.proposal_boxes.tensor.tolist() == wanted
        assert not first.proposal_boxes.tensor.requires_grad
        assert len(second) == 0


def test_stages_that_do_not_fit_are_named() -> None:
    parts: dict[str, Any] = {
        **{name: value for name, value in SAMPLING.items() if name != "proposal_matcher"},
        "box_in_features": ["p2"],
        "box_pooler": pooler(),
        "box_heads": [box_head()] * 2,
        "box_predictors": [predictor(cls_agnostic_bbox_reg=True)] * 2,
        "proposal_matchers": [Matcher([0.5], [0, 1])],
    }
    with pytest.raises(ValueError, match=r"as many box_heads as .* at least one; got \(2, 2, 1\)"):
        CascadeROIHeads(**parts)
    parts["proposal_matchers"] *= 2
    parts["box_predictors"] = [predictor(cls_agnostic_bbox_reg=True), predictor()]
    with pytest.raises(ValueError, match="box_predictors with cls_agnostic_bbox_reg=True"):
        CascadeROIHeads(**parts)
