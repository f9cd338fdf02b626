"""Losses and places of keypoints by their definitions, and the choice of regions for them."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.batched_selection import Detections
from d2_modeling.events import EventStorage
from d2_modeling.roi_heads import (
    BaseKeypointRCNNHead,
    KRCNNConvDeconvUpsampleHead,
    build_keypoint_head,
    keypoint_rcnn_inference,
    keypoint_rcnn_loss,
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from d2_modeling.roi_heads.region_selection import (
    foreground_rows,
    select_foreground_with_keypoints,
)
from d2_structures import Boxes, Instances, Keypoints

K, SIDE = 3, 5
IMAGE = (60, 60)


def random_regions(counts: list[int], seed: int) -> list[Instances]:
    """Regions with keypoints of which some are unseen, and some outside."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for count in counts:
        low = torch.rand(count, 2, generator=generator) * 20
        size = 10 + torch.rand(count, 2, generator=generator) * 20
        places = (
            low[:, None]
            + (torch.rand(count, K, 2, generator=generator) * 1.6 - 0.3) * (size[:, None])
        )
        visibility = torch.randint(3, (count, K, 1), generator=generator)
        images.append(
            Instances(
                IMAGE,
                proposal_boxes=Boxes(torch.cat([low, low + size], dim=1)),
                gt_keypoints=Keypoints(torch.cat([places, visibility], dim=2)),
                gt_classes=torch.randint(-1, 2, (count,), generator=generator),
            )
        )
    return images


def logits_of(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, K, SIDE, SIDE, generator=generator).double() * 2


def cells(images: list[Instances]) -> list[tuple[int, int, int]]:
    """Region, keypoint and cell of each keypoint that is seen within its region."""
    found, row = [], 0
    for image in images:
        for box, points in zip(
            image.proposal_boxes.tensor.tolist(), image.gt_keypoints.tensor.tolist(), strict=True
        ):
            for point, (x, y, visibility) in enumerate(points):
                u = (x - box[0]) / (box[2] - box[0]) * SIDE
                v = (y - box[1]) / (box[3] - box[1]) * SIDE
                if visibility > 0 and 0 <= u < SIDE and 0 <= v < SIDE:
                    found.append((row, point, math.floor(v) * SIDE + math.floor(u)))
            row += 1
    return found


COUNTS = st.lists(st.integers(0, 3), min_size=1, max_size=3)


@pytest.mark.parametrize("on_a_device", [False, True])
@pytest.mark.parametrize("normalizer", [None, 7.0])
@given(COUNTS, st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_loss_sums_over_visible_keypoints_within_their_regions(
    on_a_device: bool, normalizer: float | None, counts: list[int], seed: int
) -> None:
    images = random_regions(counts, seed)
    logits = logits_of(sum(counts), seed).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        if on_a_device:
            patch.setattr("d2_modeling.host_waits._is_read_at_once", lambda device: False)
        loss = keypoint_rcnn_loss(logits, images, normalizer)
    loss.backward()
    visible = cells(images)
    number = normalizer or max(len(visible), 1)
    total, slope = 0.0, torch.zeros_like(logits)
    for row, point, cell in visible:
        probabilities = logits.detach()[row, point].flatten().softmax(dim=0)
        total -= math.log(probabilities[cell].item())
        probabilities[cell] -= 1
        slope[row, point] = probabilities.view(SIDE, SIDE) / number
    assert loss.item() == pytest.approx(total / number)
    torch.testing.assert_close(logits.grad, slope)


def test_regions_in_another_order_have_the_same_loss() -> None:
    images, logits = random_regions([3, 2], 4), logits_of(5)
    order = torch.tensor([2, 0, 1])
    turned = [images[1], images[0][order]]
    rows = torch.cat([torch.tensor([3, 4]), order])
    wanted = keypoint_rcnn_loss(logits, images, None)
    assert wanted > 0
    torch.testing.assert_close(keypoint_rcnn_loss(logits[rows], turned, None), wanted)


def test_skipped_batches_are_counted_over_iterations() -> None:
    unseen = random_regions([2], 0)
    unseen[0].gt_keypoints.tensor[:, :, 2] = 0
    seen = random_regions([3], 4)
    with EventStorage() as storage:
        for images in (unseen, unseen, seen, unseen):
            keypoint_rcnn_loss(logits_of(len(images[0])), images, None)
            storage.step()
    assert storage.latest()["kpts_num_skipped_batches"] == (3, 3)
    assert not storage.smoothing_hints()["kpts_num_skipped_batches"]
    keypoint_rcnn_loss(logits_of(2), unseen, None)  # without a storage nothing is counted


def test_without_images_the_loss_is_a_zero_that_can_be_backpropagated() -> None:
    logits = logits_of(0).requires_grad_()
    for normalizer in (None, 3.0):
        loss = keypoint_rcnn_loss(logits, [], normalizer)
        loss.backward()
        assert loss == 0


@pytest.mark.parametrize("size", [4, 5, 13])
def test_a_peak_is_found_at_the_centre_of_its_cell(size: int) -> None:
    """Regions of as many pixels as cells need no enlargement."""
    logits = torch.zeros(2, 1, size, size)
    logits[0, 0, 1, 3] = logits[1, 0, 2, 0] = 5.0
    boxes = torch.tensor([[10.0, 20, 10 + size, 20 + size], [3, 4, 3 + size, 4 + size]])
    images = [Instances(IMAGE, pred_boxes=Boxes(box[None])) for box in boxes]
    keypoint_rcnn_inference(logits, images)
    score = math.exp(5) / (math.exp(5) + size * size - 1)
    for image, place in zip(images, ([13.5, 21.5], [3.5, 6.5]), strict=True):
        assert image.pred_keypoints.shape == (1, 1, 3)
        assert image.pred_keypoints[0, 0].tolist() == pytest.approx([*place, score], rel=1e-5)
        assert image.pred_keypoint_heatmaps.shape == (1, 1, size, size)


@given(COUNTS, st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_keypoints_are_the_peaks_of_enlarged_maps(counts: list[int], seed: int) -> None:
    logits = logits_of(sum(counts), seed).float()
    images = [
        Instances(IMAGE, pred_boxes=region.proposal_boxes)
        for region in random_regions(counts, seed)
    ]
    keypoint_rcnn_inference(logits, images)
    row = 0
    for image in images:
        for box, points in zip(image.pred_boxes.tensor.tolist(), image.pred_keypoints, strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            shape = math.ceil(height), math.ceil(width)
            large = F.interpolate(logits[row][None], size=shape, mode="bicubic")[0]
            for heatmap, place in zip(large, points.tolist(), strict=True):
                x = (place[0] - box[0]) * shape[1] / width - 0.5
                y = (place[1] - box[1]) * shape[0] / height - 0.5
                assert x == pytest.approx(round(x), abs=1e-3)
                found = heatmap[round(y), round(x)].item()
                assert found == pytest.approx(heatmap.max().item(), abs=1e-4)
            row += 1
    assert row == sum(counts)


def test_heatmaps_are_split_by_image_and_carry_no_gradient() -> None:
    logits = logits_of(3).requires_grad_()
    images = [
        Instances(IMAGE, pred_boxes=region.proposal_boxes)
        for region in random_regions([1, 0, 2], 0)
    ]
    keypoint_rcnn_inference(logits, images)
    maps = [image.pred_keypoint_heatmaps for image in images]
    assert [len(each) for each in maps] == [1, 0, 2]
    assert torch.cat(maps).equal(logits.detach())
    assert not any(each.requires_grad for each in maps)
    assert images[1].pred_keypoints.shape == (0, K, 3)
    keypoint_rcnn_inference(logits[:0], [])


@given(COUNTS, st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_regions_are_chosen_one_by_one(counts: list[int], seed: int) -> None:
    images = random_regions(counts, seed)
    visible: set[int] = set()
    row = 0
    for image in images:
        for box, points in zip(
            image.proposal_boxes.tensor.tolist(), image.gt_keypoints.tensor.tolist(), strict=True
        ):
            if any(
                v >= 1 and box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y, v in points
            ):
                visible.add(row)
            row += 1
    starts = [sum(counts[:place]) for place in range(len(counts))]
    with_keypoints = select_proposals_with_visible_keypoints(images)
    both = select_foreground_with_keypoints(images, bg_label=1)
    foreground, masks = select_foreground_proposals(images, bg_label=1)
    rows = foreground_rows(images, bg_label=1)
    for place, image in enumerate(images):
        own = [r for r in range(len(image)) if starts[place] + r in visible]
        front = [r for r, kind in enumerate(image.gt_classes.tolist()) if kind == 0]
        boxes = image.proposal_boxes.tensor
        assert with_keypoints[place].proposal_boxes.tensor.equal(boxes[own])
        assert foreground[place].proposal_boxes.tensor.equal(boxes[front])
        assert masks[place].nonzero()[:, 0].tolist() == rows[place].tolist() == front
        chosen = [r for r in front if r in own]
        assert both[place].proposal_boxes.tensor.equal(boxes[chosen])
        assert both[place].gt_keypoints.tensor.equal(image.gt_keypoints.tensor[chosen])


def test_a_keypoint_on_the_edge_of_its_region_is_within_it() -> None:
    image = Instances(
        IMAGE,
        proposal_boxes=Boxes([[0.0, 0, 10, 10]] * 3),
        gt_keypoints=Keypoints([[[10.0, 10, 1]], [[0, 0, 2]], [[10.001, 5, 2]]]),
    )
    (chosen,) = select_proposals_with_visible_keypoints([image])
    assert chosen.gt_keypoints.tensor[:, 0, 0].tolist() == [10, 0]


def test_images_without_foreground_need_no_keypoints() -> None:
    background = Instances(
        IMAGE, proposal_boxes=Boxes([[0.0, 0, 10, 10]]), gt_classes=torch.tensor([1])
    )
    with EventStorage() as storage:
        chosen = select_foreground_with_keypoints([*random_regions([4], 6), background], bg_label=1)
    assert len(chosen[1]) == 0
    assert storage.latest()["keypoint_head/num_fg_samples"][0] == len(chosen[0]) / 2
    assert select_foreground_with_keypoints([], bg_label=1) == []
    assert select_foreground_proposals([], bg_label=1) == ([], [])


def test_foreground_without_keypoints_is_refused_with_what_to_do() -> None:
    image = Instances(IMAGE, proposal_boxes=Boxes([[0.0, 0, 9, 9]]), gt_classes=torch.tensor([0]))
    message = r"needs 'gt_keypoints'.*use_keypoint.*keypoint_in_features=None"
    with pytest.raises(ValueError, match=message):
        select_foreground_with_keypoints([image], bg_label=1)
    with pytest.raises(ValueError, match=message):
        select_proposals_with_visible_keypoints([image])


SHAPE = ShapeSpec(channels=4, height=SIDE, width=SIDE)


def head(**options: Any) -> KRCNNConvDeconvUpsampleHead:
    torch.manual_seed(0)
    return KRCNNConvDeconvUpsampleHead(
        SHAPE, **{"num_keypoints": K, "conv_dims": [6, 8], **options}
    )


@pytest.mark.parametrize("normalizer", ["visible", 2.0])
def test_a_head_divides_by_images_or_by_visible_keypoints(normalizer: Any) -> None:
    images, x = random_regions([2, 1], 4), torch.randn(3, 4, SIDE, SIDE)
    module = head(loss_weight=3.0, loss_normalizer=normalizer).train()
    divisor = None if normalizer == "visible" else 2 * 2.0
    wanted = 3 * keypoint_rcnn_loss(module.layers(x), images, divisor)
    losses = module(x, images)
    assert set(losses) == {"loss_keypoint"}
    torch.testing.assert_close(losses["loss_keypoint"], wanted)
    assert wanted > 0


def test_layers_are_convolutions_a_deconvolution_and_a_doubling() -> None:
    module, x = head().double(), torch.randn(2, 4, SIDE, SIDE).double()
    hidden = F.relu(module.conv_fcn2(F.relu(module.conv_fcn1(x))))
    low = F.conv_transpose2d(
        hidden, module.score_lowres.weight, module.score_lowres.bias, stride=2, padding=1
    )
    wanted = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(module.layers(x), wanted)
    assert module.layers(x[:0]).shape == (0, K, 4 * SIDE, 4 * SIDE)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module.layers(last), wanted)


def test_layers_leave_the_features_alone() -> None:
    x = torch.randn(2, 4, SIDE, SIDE)
    before = x.clone()
    head().layers(x)
    head(conv_dims=[]).layers(x)
    assert x.equal(before)


def test_as_a_function_of_tensors_a_head_predicts_the_same() -> None:
    module, x = head().eval(), torch.randn(3, 4, SIDE, SIDE)
    images = [
        Instances(IMAGE, pred_boxes=region.proposal_boxes) for region in random_regions([1, 2], 0)
    ]
    found = module(x, images)
    boxes, rows = torch.cat([image.pred_boxes.tensor for image in images]), torch.arange(3)
    detections = Detections(boxes, torch.ones(3), rows * 0, rows * 0, rows)
    wanted = torch.cat([image.pred_keypoints for image in found])
    torch.testing.assert_close(module.predict_tensors(x, detections), wanted)


@pytest.mark.parametrize("shape", [ShapeSpec(height=4, width=4), {"p2": SHAPE}])
def test_a_head_without_channels_is_refused(shape: Any) -> None:
    with pytest.raises(ValueError, match="the keypoint head wants the number of channels, got"):
        KRCNNConvDeconvUpsampleHead(shape, num_keypoints=K, conv_dims=[4])


def config(**options: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE, cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION = 64, 0.25
    settings = {"NUM_KEYPOINTS": K, "CONV_DIMS": [6, 8], "LOSS_WEIGHT": 4.0, **options}
    for key, value in settings.items():
        setattr(cfg.MODEL.ROI_KEYPOINT_HEAD, key, value)
    return cfg


@pytest.mark.parametrize(("by_visible", "normalizer"), [(True, "visible"), (False, K * 16)])
def test_a_config_sets_every_option(by_visible: bool, normalizer: Any) -> None:
    """Otherwise what all foreground of an image's sample could have divides."""
    module: Any = build_keypoint_head(config(NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS=by_visible), SHAPE)
    assert isinstance(module, KRCNNConvDeconvUpsampleHead)
    assert (module.num_keypoints, module.loss_weight) == (K, 4.0)
    assert module.loss_normalizer == normalizer
    assert (module.conv_fcn1.out_channels, module.conv_fcn2.out_channels) == (6, 8)
    assert module.score_lowres.out_channels == K


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(KeyError, match="NoKeypointHead"):
        build_keypoint_head(config(NAME="NoKeypointHead"), SHAPE)
    with pytest.raises(ValueError, match="loss_normalizer: a number or 'visible', got 'seen'"):
        head(loss_normalizer="seen")
    with pytest.raises(TypeError, match="abstract"):
        BaseKeypointRCNNHead(num_keypoints=K)
