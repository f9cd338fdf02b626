import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2_ops import host, roi_align

Masks = NDArray[np.bool_]


@st.composite
def stacks(draw: st.DrawFn, least: int = 0) -> Masks:
    count, height, width = (draw(st.integers(least, most)) for most in (4, 90, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((count, height, width)) < draw(st.sampled_from([0.0, 0.0005, 0.5, 1.0]))


@settings(max_examples=100, deadline=None)
@given(masks=stacks(), threads=st.integers(0, 3))
def test_boxes_of_bitmasks_are_those_of_their_encodings(masks: Masks, threads: int) -> None:
    boxes = host.mask_bounding_boxes(masks, num_threads=threads)
    assert np.array_equal(boxes, host.rle_bounding_boxes(host.rle_encode(masks)))


def test_boxes_of_masks_of_any_kind() -> None:
    masks = np.zeros((40, 50, 3), np.float32)
    masks[5:9, 7:8, 1] = 0.5
    expected = [[0, 0, 0, 0], [7, 5, 1, 4], [0, 0, 0, 0]]
    assert host.mask_bounding_boxes(masks.transpose(2, 0, 1)).tolist() == expected


def random_boxes(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    start = rng.uniform(-30, 120, (count, 2))
    boxes = np.hstack([start, start + rng.uniform(-2, 90, (count, 2))])
    return (boxes if rng.random() < 0.5 else np.round(boxes)).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(masks=stacks(1), seed=st.integers(0, 2**32), size=st.sampled_from([1, 7, 28]))
def test_crops_are_those_of_roi_align(masks: Masks, seed: int, size: int) -> None:
    boxes = random_boxes(len(masks), np.random.default_rng(seed))
    rois = torch.cat((torch.arange(float(len(masks)))[:, None], torch.from_numpy(boxes)), 1)
    planes = torch.from_numpy(masks)[:, None].double()
    covered = roi_align(planes, rois.double(), size, 1.0, 0, True)[:, 0].numpy()
    clear = np.abs(covered - 0.5) > 1e-3
    crops = host.crop_and_resize_bitmasks(masks, boxes, size)
    assert crops.shape == (len(masks), size, size)
    # Samples are counted in float32, which may find one more or less in a cell.
    assert (crops[clear] != (covered >= 0.5)[clear]).mean() < 0.02 if clear.any() else True
    encoded = host.crop_and_resize_rles(host.rle_encode(masks), boxes, size)
    assert np.array_equal(encoded, crops)


def test_a_crop_on_pixel_borders_is_the_crop_and_half_a_pixel_suffices() -> None:
    masks = np.random.default_rng(0).random((2, 20, 30)) < 0.5
    crops = host.crop_and_resize_bitmasks(masks, [[3, 2, 17, 16], [0, 0, 14, 14]], 14)
    assert np.array_equal(crops, [masks[0, 2:16, 3:17], masks[1, :14, :14]])
    stripes = np.arange(16)[None, None, :].repeat(16, 1) % 2 == 1
    assert host.crop_and_resize_bitmasks(stripes, [[0, 0, 16, 16]], 8).all()


def test_boxes_far_away_empty_or_not_finite_give_empty_masks() -> None:
    masks = np.ones((6, 20, 30), bool)
    boxes = [
        [900, 900, 910, 910],
        [5, 5, 5, 5],
        [9, 9, 3, 3],
        [np.nan, 0, 9, 9],
        [0, 0, np.inf, 9],
        [-1e30, 0, 1e30, 9],
    ]
    assert not host.crop_and_resize_bitmasks(masks, boxes, 7).any()
    assert not host.crop_and_resize_rles(host.rle_encode(masks), boxes, 7).any()
    huge = host.crop_and_resize_bitmasks(masks[:1], [[-1e8, -1e8, 1e8, 1e8]], 7)
    assert not huge.any()
    assert host.crop_and_resize_bitmasks(masks[:, :0], np.zeros((6, 4)), 7).shape == (6, 7, 7)
    assert host.crop_and_resize_bitmasks(masks[:0], [], 7).shape == (0, 7, 7)
    assert host.crop_and_resize_rles([], [], 7).shape == (0, 7, 7)


def test_threads_do_not_change_the_crops() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((50, 60, 70)) < 0.5
    boxes = random_boxes(50, rng)
    alone = host.crop_and_resize_bitmasks(masks, boxes, 14, num_threads=1)
    assert np.array_equal(host.crop_and_resize_bitmasks(masks, boxes, 14, num_threads=3), alone)
    rles = host.rle_encode(masks)
    assert np.array_equal(host.crop_and_resize_rles(rles, boxes, 14, num_threads=3), alone)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"masks must have shape \(N, H, W\), got \(4, 5\)"):
        host.mask_bounding_boxes(np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"boxes must have shape \(2, 4\), .* got \(3, 4\)"):
        host.crop_and_resize_bitmasks(np.zeros((2, 4, 5), bool), np.zeros((3, 4)), 7)
    with pytest.raises(ValueError, match="must not be negative"):
        host.crop_and_resize_bitmasks(np.zeros((2, 4, 5), bool), np.zeros((2, 4)), -1)
    broken = [{"size": [4, 5], "counts": b"0"}]
    with pytest.raises(ValueError, match=r"rles\[0\]: run lengths do not add up"):
        host.crop_and_resize_rles(broken, np.ones((1, 4)), 7)
