"""Parts of torchvision's two-stage detectors, and ours, given the same tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling import ShapeSpec
from d2_modeling.anchor_generator import DefaultAnchorGenerator
from d2_modeling.batched_selection import batch_index_of, clipped_to_images, suppressed
from d2_modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from d2_modeling.matcher import Matcher
from d2_modeling.poolers import ROIPooler
from d2_modeling.postprocessing import detector_postprocess
from d2_modeling.proposal_generator import RPN, StandardRPNHead, find_top_rpn_proposals
from d2_modeling.roi_heads import (
    FastRCNNOutputLayers,
    fast_rcnn_inference,
    keypoint_rcnn_inference,
    keypoint_rcnn_loss,
    mask_rcnn_inference,
)
from d2_modeling.sampling import sampled_labels, subsample_labels
from d2_structures import Boxes, ImageList, Instances, Keypoints

pytest.importorskip("torchvision", reason="torchvision is not installed: an extra")
from torchvision import ops
from torchvision.models import detection
from torchvision.models.detection import _utils, anchor_utils, image_list, roi_heads, rpn, transform

Draw = Callable[..., Tensor]
SIZE = (64, 80)


@given(st.integers(1, 8), st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_boxes_are_encoded_and_decoded_alike(
    random_boxes: Draw, count: int, classes: int, seed: int
) -> None:
    weights = (10.0, 10.0, 5.0, 5.0)
    coder, ours = _utils.BoxCoder(weights), Box2BoxTransform(weights)
    boxes, targets = random_boxes(count, seed), random_boxes(count, seed + 1)
    (encoded,) = coder.encode([targets], [boxes])
    torch.testing.assert_close(ours.get_deltas(boxes, targets), encoded, rtol=1e-4, atol=1e-4)
    deltas = torch.randn(count, 4 * classes, generator=torch.Generator().manual_seed(seed)) * 9
    decoded = coder.decode(deltas, [boxes]).flatten(1)
    torch.testing.assert_close(ours.apply_deltas(deltas, boxes), decoded, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("normalize", [False, True])
def test_distances_to_the_sides_are_encoded_and_decoded_alike(
    normalize: bool, random_boxes: Draw
) -> None:
    coder, ours = _utils.BoxLinearCoder(normalize), Box2BoxTransformLinear(normalize)
    boxes, targets = random_boxes(9), random_boxes(9, 1)
    torch.testing.assert_close(ours.get_deltas(boxes, targets), coder.encode(boxes, targets))
    deltas = torch.rand(9, 4)  # negative ones torchvision's heads leave out
    torch.testing.assert_close(ours.apply_deltas(deltas, boxes), coder.decode(deltas, boxes))


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 10**6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_overlaps_are_matched_alike(m: int, n: int, seed: int, low: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    overlaps = torch.randint(0, 11, (m, n), generator=generator) / 10
    theirs = _utils.Matcher(0.7, 0.3, low)(overlaps)
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], low)(overlaps)
    assert labels.tolist() == [{-1: 0, -2: -1}.get(index, 1) for index in theirs.tolist()]
    assert matches[theirs >= 0].equal(theirs[theirs >= 0])


@given(
    st.lists(st.integers(-1, 1), min_size=1, max_size=40),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
@settings(max_examples=30, deadline=None)
def test_as_many_are_drawn(values: list[int], count: int, fraction: float) -> None:
    labels = torch.tensor(values)
    sampler = _utils.BalancedPositiveNegativeSampler(count, fraction)
    wanted = [int(masks[0].sum()) for masks in sampler([labels])]
    assert [len(rows) for rows in subsample_labels(labels, count, fraction, 0)] == wanted
    drawn = sampled_labels(labels[None], count, fraction, 0)
    assert [int((drawn == value).sum()) for value in (1, 0)] == wanted


def test_anchors_without_rounding_are_the_same() -> None:
    sizes, strides = (16, 32), (8, 16)
    theirs = anchor_utils.AnchorGenerator(tuple((size,) for size in sizes), ((1.0,),) * 2)
    ours = DefaultAnchorGenerator(
        sizes=[[size] for size in sizes], aspect_ratios=[1.0], strides=strides, offset=0.0
    )
    maps = [torch.zeros(1, 1, SIZE[0] // stride, SIZE[1] // stride) for stride in strides]
    images = image_list.ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    (wanted,) = theirs(images, maps)
    assert Boxes.cat(ours(maps)).tensor.equal(wanted)


def test_anchors_of_any_ratio_are_theirs_before_rounding() -> None:
    ratios = (0.5, 1.0, 2.0)
    theirs = anchor_utils.AnchorGenerator(((32,),), (ratios,)).cell_anchors[0]
    ours = DefaultAnchorGenerator.generate_cell_anchors((32,), ratios)
    assert (ours - theirs).abs().max() <= 0.5


@pytest.mark.parametrize("ratio", [1, 2])
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_regions_are_pooled_alike(
    random_boxes: Draw, ratio: int, first: int, second: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = {
        name: torch.randn(2, 3, 256 // stride, 256 // stride, generator=generator)
        for name, stride in (("0", 4), ("1", 8), ("2", 16))
    }
    boxes = [random_boxes(first, seed, 160.0), random_boxes(second, seed + 1, 160.0)]
    theirs = ops.MultiScaleRoIAlign(["0", "1", "2"], 3, ratio, canonical_scale=64)
    wanted = theirs(maps, boxes, [(256, 256)] * 2)
    ours = ROIPooler(3, [1 / 4, 1 / 8, 1 / 16], ratio, "ROIAlign", canonical_box_size=64)
    got = ours(list(maps.values()), [Boxes(image) for image in boxes])
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["ROIAlign", "ROIAlignV2", "ROIPool"])
def test_one_level_is_pooled_like_theirs(kind: str, random_boxes: Draw) -> None:
    feature, boxes = torch.randn(1, 3, 32, 32), random_boxes(9)
    got = ROIPooler((3, 2), [1 / 4], 0, kind)([feature], [Boxes(boxes)])
    if kind == "ROIPool":
        wanted = ops.roi_pool(feature, [boxes], (3, 2), 1 / 4)
    else:
        aligned = kind == "ROIAlignV2"
        wanted = ops.roi_align(feature, [boxes], (3, 2), 1 / 4, -1, aligned)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_boxes_are_clipped_and_suppressed_alike(
    random_boxes: Draw, counts: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    boxes = random_boxes(total, seed, 60.0) - 10
    scores = torch.rand(total, generator=generator)
    categories = torch.randint(2, (total,), generator=generator)
    images = batch_index_of(counts, boxes.device)
    clipped = clipped_to_images(boxes, torch.tensor([SIZE]).expand(total, 2))
    assert clipped.equal(ops.clip_boxes_to_image(boxes, SIZE))
    kept = suppressed(
        *(clipped, scores, categories, images),
        num_images=len(counts),
        num_categories=2,
        nms_thresh=0.4,
        limit=-1,
    )
    rows, kept_counts, _ = kept.on_host()
    wanted, start = [], 0
    for count in counts:
        own = slice(start, start + count)
        wanted.append(ops.batched_nms(clipped[own], scores[own], categories[own], 0.4) + start)
        start += count
    assert rows.equal(torch.cat(wanted))
    assert kept_counts == [len(image) for image in wanted]


def torchvision_rpn(**limits: int) -> Any:
    generator = anchor_utils.AnchorGenerator(((16,), (32,)), ((1.0,),) * 2)
    options = {"training": limits["before"], "testing": limits["before"]}
    after = {"training": limits["after"], "testing": limits["after"]}
    torch.manual_seed(0)
    head = rpn.RPNHead(4, 1)
    return rpn.RegionProposalNetwork(generator, head, 0.7, 0.3, 10**4, 1.0, options, after, 0.6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_proposals_are_chosen_alike(random_boxes: Draw, first: int, second: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    levels = [
        (random_boxes(2 * count, seed + count, 50.0) - 8).view(2, count, 4)
        for count in (first, second)
    ]
    logits = [torch.randn(2, count, generator=generator) for count in (first, second)]
    model = torchvision_rpn(before=6, after=7).eval()
    sizes = [SIZE, (40, 50)]
    wanted = model.filter_proposals(
        torch.cat(levels, dim=1), torch.cat(logits, dim=1), sizes, [first, second]
    )
    got = find_top_rpn_proposals(levels, logits, sizes, 0.6, 6, 7, 1e-3, False)
    for image, boxes, scores in zip(got, *wanted, strict=True):
        assert image.proposal_boxes.tensor.equal(boxes)
        torch.testing.assert_close(image.objectness_logits.sigmoid(), scores)


def test_losses_of_a_region_proposal_network_are_the_same() -> None:
    """But for what divides them: there the sample drawn, here the one that was wanted."""
    theirs = torchvision_rpn(before=50, after=20).train()
    head = StandardRPNHead(in_channels=4, num_anchors=1)
    head.load_state_dict(
        {
            "conv.weight": theirs.head.conv[0][0].weight,
            "conv.bias": theirs.head.conv[0][0].bias,
            "objectness_logits.weight": theirs.head.cls_logits.weight,
            "objectness_logits.bias": theirs.head.cls_logits.bias,
            "anchor_deltas.weight": theirs.head.bbox_pred.weight,
            "anchor_deltas.bias": theirs.head.bbox_pred.bias,
        }
    )
    ours = RPN(
        in_features=["0", "1"],
        head=head,
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[16], [32]], aspect_ratios=[1.0], strides=[8, 16], offset=0.0
        ),
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=10**4,
        positive_fraction=1.0,
        pre_nms_topk=(50, 50),
        post_nms_topk=(20, 20),
        nms_thresh=0.6,
        smooth_l1_beta=1 / 9,
    ).train()
    maps = {"0": torch.randn(1, 4, 8, 10), "1": torch.randn(1, 4, 4, 5)}
    boxes = torch.tensor([[4.0, 4, 22, 20], [30, 20, 66, 50]])
    images = image_list.ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    wanted_boxes, wanted = theirs(images, maps, [{"boxes": boxes}])
    anchors = ours.anchor_generator(list(maps.values()))
    gt = [Instances(SIZE, gt_boxes=Boxes(boxes))]
    (labels,), _ = ours.label_and_sample_anchors(anchors, gt)
    (found,), losses = ours(ImageList(torch.zeros(1, 3, *SIZE), [SIZE]), maps, gt)
    torch.testing.assert_close(found.proposal_boxes.tensor, wanted_boxes[0], rtol=1e-4, atol=1e-3)
    share = (labels >= 0).sum() / 10**4
    names = {"loss_rpn_cls": "loss_objectness", "loss_rpn_loc": "loss_rpn_box_reg"}
    for mine, other in names.items():
        torch.testing.assert_close(losses[mine], wanted[other] * share, rtol=1e-4, atol=1e-9)
        assert losses[mine] > 0


def box_predictor(classes: int) -> FastRCNNOutputLayers:
    return FastRCNNOutputLayers(
        ShapeSpec(channels=4),
        box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
        num_classes=classes,
        smooth_l1_beta=1 / 9,
    )


def background_first(scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """In torchvision's order of classes, where the background has deltas, too."""
    none = torch.zeros(len(deltas), 4)
    return scores.roll(1, dims=1), torch.cat([none, deltas], dim=1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_losses_of_regions_are_the_same(random_boxes: Draw, classes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    count = len(classes)
    scores = torch.randn(count, 4, generator=generator)
    deltas = torch.randn(count, 12, generator=generator)
    boxes, gt = random_boxes(count, seed), random_boxes(count, seed + 1)
    ours = box_predictor(3)
    image = Instances(
        SIZE, proposal_boxes=Boxes(boxes), gt_boxes=Boxes(gt), gt_classes=torch.tensor(classes)
    )
    losses = ours.losses((scores, deltas), [image])
    targets = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0)).encode([gt], [boxes])
    labels = [(torch.tensor(classes) + 1) % 4]
    wanted = roi_heads.fastrcnn_loss(*background_first(scores, deltas), labels, targets)
    for mine, other in zip(losses.values(), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=3), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_regions_are_detected_alike(random_boxes: Draw, counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    scores = torch.randn(total, 4, generator=generator) * 2
    deltas = torch.randn(total, 12, generator=generator)
    boxes = list(random_boxes(total, seed, 50.0).split(counts))
    heads = detection.roi_heads.RoIHeads(
        *(None, None, None, 0.5, 0.5, 8, 0.5, (10.0, 10.0, 5.0, 5.0), 0.1, 0.4, 5)
    )
    wanted = heads.postprocess_detections(
        *background_first(scores, deltas), boxes, [SIZE] * len(counts)
    )
    decoded = box_predictor(3).box2box_transform.apply_deltas(deltas, torch.cat(boxes))
    found, _ = fast_rcnn_inference(
        *(decoded.split(counts), scores.softmax(dim=1).split(counts), [SIZE] * len(counts)),
        *(0.1, 0.4, 5),
    )
    for image, their_boxes, their_scores, labels in zip(found, *wanted, strict=True):
        torch.testing.assert_close(image.pred_boxes.tensor, their_boxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(image.scores, their_scores)
        assert image.pred_classes.equal(labels - 1)


def test_masks_of_the_predicted_class_are_the_same() -> None:
    logits = torch.randn(5, 4, 7, 7)
    classes = [torch.tensor([1, 3]), torch.tensor([0, 2, 2])]
    images = [Instances(SIZE, pred_classes=each) for each in classes]
    mask_rcnn_inference(logits, images)
    for image, wanted in zip(images, roi_heads.maskrcnn_inference(logits, classes), strict=True):
        torch.testing.assert_close(image.pred_masks, wanted)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_losses_of_keypoints_are_the_same(random_boxes: Draw, counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(sum(counts), 3, 7, 7, generator=generator)
    images, boxes, points = [], [], []
    for place, count in enumerate(counts):
        own = random_boxes(count, seed + place, 40.0)
        size = (own[:, 2:] - own[:, :2])[:, None]
        xy = own[:, None, :2] + torch.rand(count, 3, 2, generator=generator) * 1.2 * size
        visible = torch.randint(3, (count, 3, 1), generator=generator)
        points.append(torch.cat([xy, visible], dim=2))
        boxes.append(own)
        images.append(
            Instances(SIZE, proposal_boxes=Boxes(own), gt_keypoints=Keypoints(points[-1]))
        )
    rows = [torch.arange(count) for count in counts]
    wanted = roi_heads.keypointrcnn_loss(logits, boxes, points, rows)
    torch.testing.assert_close(keypoint_rcnn_loss(logits, images, None), wanted)


@given(st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_keypoints_are_found_alike(random_boxes: Draw, count: int, seed: int) -> None:
    logits = torch.randn(count, 3, 7, 7, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(count, seed, 40.0)
    image = Instances(SIZE, pred_boxes=Boxes(boxes))
    keypoint_rcnn_inference(logits, [image])
    wanted, _ = roi_heads.heatmaps_to_keypoints(logits, boxes)
    same = (image.pred_keypoints[:, :, :2] - wanted[:, :, :2]).abs().amax(dim=2) < 1e-3
    assert same.all()


@pytest.mark.parametrize("wanted", [(128, 160), (33, 200), (20, 10)])
def test_boxes_and_keypoints_are_resized_alike(wanted: tuple[int, int], random_boxes: Draw) -> None:
    boxes, points = random_boxes(6, 0, 40.0), torch.rand(6, 5, 3) * 40
    results = Instances(SIZE, pred_boxes=Boxes(boxes), pred_keypoints=points)
    output = detector_postprocess(results, *wanted)
    resized = transform.resize_boxes(boxes, SIZE, wanted)
    torch.testing.assert_close(
        output.pred_boxes.tensor, ops.clip_boxes_to_image(resized, wanted), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(
        output.pred_keypoints, transform.resize_keypoints(points, SIZE, wanted)
    )


def test_masks_are_pasted_nearly_alike() -> None:
    """There boxes are rounded to whole pixels first: of boxes that are whole edges may differ."""
    boxes = torch.tensor([[4.0, 6, 36, 50], [30, 10, 70, 42]])
    smooth = nn.functional.interpolate(torch.rand(2, 1, 3, 3), size=14, mode="bicubic").clamp(0, 1)
    results = Instances(SIZE, pred_boxes=Boxes(boxes), pred_masks=smooth)
    got = detector_postprocess(results, *SIZE).pred_masks
    wanted = roi_heads.paste_masks_in_image(smooth, boxes, SIZE)[:, 0] >= 0.5
    assert (got != wanted).float().mean() < 0.02
    assert wanted.float().mean() > 0.02
