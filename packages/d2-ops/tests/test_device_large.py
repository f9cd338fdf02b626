"""Operators on a CUDA device whose tensors have more elements than 32 bits count.

All but the last rows are zeros, and the last rows have to come out as they do alone.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import d2_ops

pytestmark = pytest.mark.gpu

Pool = Callable[[Tensor, Tensor], Tensor]

UPRIGHT = torch.tensor([[0.0, 3, 4, 21, 30], [0, 0, 0, 12, 12], [0, 9, 2, 30, 31]])
ROTATED = torch.tensor([[0.0, 14, 14, 18, 20, 30], [0, 9, 9, 9, 9, -70], [0, 16, 16, 30, 9, 200]])
POOLS: dict[str, tuple[Pool, Tensor]] = {
    "roi_align": (lambda x, rois: d2_ops.roi_align(x, rois, 7, 0.5, 0, True), UPRIGHT),
    "roi_align_rotated": (lambda x, rois: d2_ops.roi_align_rotated(x, rois, 7, 0.5, 2), ROTATED),
    "roi_pool": (lambda x, rois: d2_ops.roi_pool(x, rois, 7, 0.5), UPRIGHT),
    "multilevel_roi_align": (
        lambda x, rois: d2_ops.multilevel_roi_align(
            [x], rois, 7, [0.5], 0, True, levels=torch.zeros(len(rois), dtype=int, device=x.device)
        ),
        UPRIGHT,
    ),
}


def corners(n: int, device: torch.device) -> Tensor:
    random = torch.Generator().manual_seed(0)
    low = torch.rand(n, 2, generator=random) * 400
    return torch.cat([low, low + torch.rand(n, 2, generator=random) * 50 + 2], 1).to(device)


def turned(n: int, device: torch.device) -> Tensor:
    boxes = corners(n, device)
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] + sides / 2, sides, boxes[:, :1]], 1)


@pytest.mark.parametrize("name", POOLS)
def test_pooling_reads_and_fills_the_last_of_many_images(
    name: str, device: torch.device, beyond_int32: int
) -> None:
    pool, boxes = POOLS[name]
    last = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)).half().to(device)
    count = beyond_int32 // last.numel() + 1
    features = torch.zeros(count, 8, 16, 16, dtype=torch.half, device=device)
    features[-1] = last
    rois = boxes.to(device)
    moved = torch.cat([torch.full_like(rois[:, :1], count - 1), rois[:, 1:]], 1)
    features.requires_grad_()
    last.requires_grad_()
    pooled, alone = pool(features, moved), pool(last, rois)
    assert pooled.equal(alone)
    (ours,) = torch.autograd.grad(pooled.sum(), features)
    (theirs,) = torch.autograd.grad(alone.sum(), last)
    torch.testing.assert_close(ours[-1:], theirs, atol=1e-2, rtol=1e-2)
    assert not ours[:-1].any()


@pytest.mark.parametrize("name", POOLS)
def test_pooling_writes_the_last_of_many_regions(
    name: str, device: torch.device, beyond_int32: int
) -> None:
    pool, boxes = POOLS[name]
    features = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    features = features.half().to(device)
    rois = boxes.to(device)
    count = beyond_int32 // (64 * 49) + 1
    pooled = pool(features, torch.cat([rois[:1].expand(count, -1), rois]))
    assert pooled.numel() > beyond_int32
    assert pooled[-3:].equal(pool(features, rois))
    assert pooled[count - 1].equal(pooled[0])


def test_the_last_of_many_masks_is_pasted(device: torch.device, beyond_int32: int) -> None:
    count = beyond_int32 // (128 * 128) + 1
    masks = torch.zeros(count, 4, 4, device=device)
    boxes = torch.tensor([[10.0, 20, 90, 100]], device=device).expand(count, -1)
    masks[-1] = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)).to(device)
    pasted = d2_ops.paste_masks_in_image(masks, boxes, (128, 128))
    assert pasted[-1:].equal(d2_ops.paste_masks_in_image(masks[-1:], boxes[-1:], (128, 128)))
    assert pasted[-1].any()
    assert not pasted[:-1].any()


def test_the_last_of_many_logits_has_its_loss(device: torch.device, beyond_int32: int) -> None:
    logits = torch.zeros(beyond_int32 // 64 + 1, 64, dtype=torch.half, device=device)
    logits[-1] = torch.randn(64, generator=torch.Generator().manual_seed(0)).half().to(device)
    targets = torch.zeros_like(logits)
    targets[-1, :7] = 1
    losses = d2_ops.sigmoid_focal_loss(logits, targets, 0.25, 2.0, "none")
    alone = d2_ops.sigmoid_focal_loss(logits[-1:], targets[-1:], 0.25, 2.0, "none")
    assert losses[-1:].equal(alone)
    total = float(d2_ops.sigmoid_focal_loss(logits, targets, 0.25, 2.0, "sum"))
    expected = 0.75 * 0.25 * math.log(2) * (logits.numel() - 64) + float(alone.double().sum())
    assert total == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("overlap", ["pairwise_iou", "pairwise_giou", "box_iou_rotated"])
def test_the_last_pair_of_many_is_compared(
    overlap: str, device: torch.device, beyond_int32: int
) -> None:
    boxes = (turned if overlap == "box_iou_rotated" else corners)(
        math.isqrt(beyond_int32) + 1, device
    )
    compare = getattr(d2_ops, overlap)
    values = compare(boxes, boxes)
    assert values.numel() > beyond_int32
    assert values[-2:].equal(compare(boxes[-2:], boxes))
    assert values[-1, -1] == pytest.approx(1)


def test_anchors_are_matched_with_more_pairs_than_32_bits_count(
    device: torch.device, beyond_int32: int
) -> None:
    gt_boxes = corners(4096 if device.type == "cuda" else 64, device)
    anchors = corners(beyond_int32 // len(gt_boxes) + 1, device)
    matched = d2_ops.match_anchors(gt_boxes, anchors, [0.3, 0.7], [0, -1, 1], False)
    alone = d2_ops.match_anchors(gt_boxes, anchors[-9:], [0.3, 0.7], [0, -1, 1], False)
    for all_of_them, last in zip(matched, alone, strict=True):
        assert all_of_them[-9:].equal(last)


def test_the_last_of_many_offsets_is_decoded(device: torch.device, beyond_int32: int) -> None:
    count = beyond_int32 // 320 + 1
    deltas = torch.zeros(count, 320, dtype=torch.half, device=device)
    deltas[-1] = torch.randn(320, generator=torch.Generator().manual_seed(0)).half().to(device)
    boxes = torch.tensor([[10.0, 20, 90, 100]], device=device).expand(count, -1)
    decoded = d2_ops.decode_boxes(deltas, boxes)
    assert decoded[-1:].equal(d2_ops.decode_boxes(deltas[-1:], boxes[-1:]))
    clipped, keep = d2_ops.decode_and_clip_boxes(deltas, boxes, (64, 80))
    alone, keep_alone = d2_ops.decode_and_clip_boxes(deltas[-1:], boxes[-1:], (64, 80))
    assert clipped[-1:].equal(alone)
    assert keep[-1:].equal(keep_alone)


def test_the_last_pixels_of_a_large_image_are_convolved(
    device: torch.device, beyond_int32: int
) -> None:
    random = torch.Generator().manual_seed(0)
    side, corner = math.isqrt(beyond_int32 // 8) + 1, (..., slice(-24, None), slice(-24, None))
    image = torch.zeros(1, 8, side, side, dtype=torch.half, device=device)
    offset = torch.zeros(1, 2, side, side, dtype=torch.half, device=device)
    image[corner] = torch.randn(1, 8, 24, 24, generator=random).half().to(device)
    offset[corner] = 2 * torch.randn(1, 2, 24, 24, generator=random).clamp(-2, 2).half().to(device)
    weight = torch.randn(8, 8, 1, 1, generator=random).half().to(device)
    out = d2_ops.deform_conv2d(image, offset, weight)
    alone = d2_ops.deform_conv2d(image[corner], offset[corner], weight)
    inner = (..., slice(-16, None), slice(-16, None))  # samples lie within the corner
    torch.testing.assert_close(out[inner], alone[inner], atol=0.05, rtol=0.05)
    assert not out[..., : side - 24, :].any()
