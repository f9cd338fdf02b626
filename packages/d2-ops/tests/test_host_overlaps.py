from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2_ops import host

coco = pytest.importorskip("pycocotools.mask")

RNG = np.random.default_rng


def blobs(seed: int, count: int, height: int, width: int) -> list[dict[str, Any]]:
    """Rectangles with holes, some of them empty, as RLEs."""
    rng = RNG(seed)
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        y, x = rng.integers(0, height), rng.integers(0, width)
        block = mask[y : y + rng.integers(0, height + 1), x : x + rng.integers(0, width + 1)]
        block[:] = rng.random(block.shape) < rng.choice([0.3, 0.9, 1.0])
    return list(host.rle_encode(masks))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 6),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    intersect=st.booleans(),
)
def test_merged_masks_equal_pycocotools(
    seed: int, count: int, height: int, width: int, intersect: bool
) -> None:
    rles = blobs(seed, count, height, width)
    merged = host.rle_merge(rles, intersect)
    assert merged == coco.merge(rles, intersect)
    if rles:
        masks = host.rle_decode(rles)
        expected = masks.all(0) if intersect else masks.any(0)
        assert np.array_equal(host.rle_decode(merged), expected)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    counts=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    threads=st.integers(0, 3),
)
def test_mask_overlaps_equal_pycocotools(
    seed: int, counts: tuple[int, int], height: int, width: int, threads: int
) -> None:
    detections = blobs(seed, counts[0], height, width)
    truths = blobs(seed + 1, counts[1], height, width)
    crowd = RNG(seed).random(counts[1]) < 0.5
    overlaps = host.rle_iou(detections, truths, crowd, num_threads=threads)
    assert overlaps.tolist() == coco.iou(detections, truths, crowd.tolist()).tolist()
    plain = host.rle_iou(detections, truths)
    assert plain.tolist() == coco.iou(detections, truths, [0] * len(truths)).tolist()


def test_masks_of_many_runs_overlap_as_pycocotools_says() -> None:
    rles = host.rle_encode(RNG(0).random((12, 90, 80)) < 0.5)
    crowd = [i % 2 for i in range(12)]
    expected = coco.iou(rles, rles, crowd)
    for threads in (1, 3):
        assert np.array_equal(host.rle_iou(rles, rles, crowd, num_threads=threads), expected)
    assert np.array_equal(np.diag(host.rle_iou(rles, rles)), np.ones(12))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    counts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    whole=st.booleans(),
)
def test_box_overlaps_equal_pycocotools(seed: int, counts: tuple[int, int], whole: bool) -> None:
    rng = RNG(seed)

    def boxes(count: int) -> NDArray[np.float64]:
        found = rng.uniform(-2, 30, (count, 4)) * [1, 1, 0.5, 0.5]
        return np.round(found) if whole else found

    detections, truths = boxes(counts[0]), boxes(counts[1])
    crowd = rng.random(counts[1]) < 0.5
    expected = coco.iou(detections, truths, crowd.tolist())
    assert np.array_equal(host.box_iou(detections, truths, crowd), expected)
    assert np.array_equal(host.box_iou(detections.tolist(), truths, crowd.tolist()), expected)


def test_many_boxes_are_shared_among_threads() -> None:
    boxes = RNG(0).uniform(0, 50, (700, 4))
    alone = host.box_iou(boxes, boxes, num_threads=1)
    assert np.array_equal(host.box_iou(boxes, boxes, num_threads=3), alone)
    assert np.array_equal(alone, coco.iou(boxes, boxes, [0] * 700))


def test_nothing_overlaps_nothing() -> None:
    rles = blobs(0, 3, 5, 6)
    for function in (host.rle_iou, host.boundary_iou):
        assert function([], rles).shape == (0, 3)
        assert function(rles, []).shape == (3, 0)
    assert host.box_iou([], np.ones((2, 4))).shape == (0, 2)
    assert host.box_iou(np.ones((2, 4)), np.empty((0, 4))).shape == (2, 0)
    empty = host.rle_encode(np.zeros((4, 4), bool))
    assert host.rle_iou([empty], [empty]).tolist() == [[0.0]]
    assert host.rle_merge([]) == coco.merge([])


def test_bad_arguments_are_named() -> None:
    small, large = host.rle_encode(np.ones((2, 3))), host.rle_encode(np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"detections\[1\]: masks must have one size, got 4 x 4"):
        host.rle_iou([small, large], [small])
    with pytest.raises(ValueError, match=r"ground_truths\[1\]: masks must have one size"):
        host.rle_iou([], [small, large])
    with pytest.raises(ValueError, match=r"rles\[1\]: masks must have one size"):
        host.rle_merge([small, large])
    with pytest.raises(TypeError, match="detections must be a sequence of RLE dicts, got dict"):
        host.rle_iou(small, [small])
    with pytest.raises(ValueError, match=r"iscrowd must have shape \(1,\), got \(2,\)"):
        host.rle_iou([small], [small], [0, 1])
    with pytest.raises(ValueError, match=r"iscrowd must have shape \(2,\)"):
        host.box_iou(np.ones((1, 4)), np.ones((2, 4)), True)
    with pytest.raises(ValueError, match=r"detections must have shape \(N, 4\), got \(2, 5\)"):
        host.box_iou(np.ones((2, 5)), np.ones((2, 4)))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"ground_truths\[1\] is not finite: \[0.0, 0.0, 1.0"):
            host.box_iou(np.ones((1, 4)), [[0, 0, 1, 1], [0, 0, 1, value]])
