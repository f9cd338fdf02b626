"""Label maps against NumPy's formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2_ops import host

TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64, ">i4"]


def label_map(rng: np.random.Generator, labels: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Blocks and noise."""
    blocks = np.arange(np.prod(shape)).reshape(shape) // 7 % labels
    noise = rng.integers(labels, size=shape)
    return np.where(rng.random(shape) < 0.3, noise, blocks)


@st.composite
def pairs_of_maps(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any], int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(0, 5), (1, 1), (13, 9), (40, 50)]))
    labels = draw(st.sampled_from([1, 2, 20, 120]))
    first, second = (
        label_map(rng, labels, shape).astype(draw(st.sampled_from(TYPES))) for _ in range(2)
    )
    return first, second, labels


def intersections_by_numpy(first: NDArray[Any], second: NDArray[Any]) -> list[NDArray[Any]]:
    pairs = np.stack([first.ravel().astype(np.int64), second.ravel().astype(np.int64)])
    unique, areas = np.unique(pairs, axis=1, return_counts=True)
    return [*unique, areas]


@settings(max_examples=60, deadline=None)
@given(pairs_of_maps(), st.sampled_from([0, 1, 3]))
def test_intersections_are_those_of_numpy(maps: Any, threads: int) -> None:
    first, second, _ = maps
    got = host.panoptic_intersections(first, second, num_threads=threads)
    for ours, expected in zip(got, intersections_by_numpy(first, second), strict=True):
        assert np.array_equal(ours, expected)


def test_any_ids_can_be_segments() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([-(2**63), -1, 0, 255, 256**3, 2**63 - 1])
    first, second = rng.choice(ids, (2, 40, 30))
    for ours, expected in zip(
        host.panoptic_intersections(first, second),
        intersections_by_numpy(first, second),
        strict=True,
    ):
        assert np.array_equal(ours, expected)


def test_many_segments_fit() -> None:
    first = np.arange(90_000).reshape(300, 300)
    got = host.panoptic_intersections(first, first.T)
    assert np.array_equal(got.ground_truth_ids, np.arange(90_000))
    assert (got.areas == 1).all()


def test_threads_do_not_change_the_counts() -> None:
    first, second = (label_map(np.random.default_rng(i), 20, (900, 800)) for i in range(2))
    expected = host.panoptic_intersections(first, second, num_threads=1)
    for ours, theirs in zip(host.panoptic_intersections(first, second), expected, strict=True):
        assert np.array_equal(ours, theirs)
    matrix = host.confusion_matrix(first, second, 20, num_threads=4)
    assert np.array_equal(matrix, confusion_by_numpy(first, second, 20, None))


def confusion_by_numpy(
    found: NDArray[Any], wanted: NDArray[Any], classes: int, ignored: int | None
) -> NDArray[Any]:
    counts = np.ones(wanted.shape, bool) if ignored is None else wanted != ignored
    flat = found[counts].astype(np.int64) * classes + wanted[counts].astype(np.int64)
    return np.bincount(flat, minlength=classes**2).reshape(classes, classes)


@settings(max_examples=60, deadline=None)
@given(pairs_of_maps(), st.sampled_from([None, 0, 255]), st.sampled_from([0, 1, 3]))
def test_confusion_is_that_of_numpy(maps: Any, ignored: int | None, threads: int) -> None:
    found, wanted, classes = maps
    if ignored is not None:
        wanted = wanted.copy()
        if np.can_cast(np.min_scalar_type(ignored), wanted.dtype):
            wanted[:, ::4] = ignored
    got = host.confusion_matrix(found, wanted, classes, ignore_label=ignored, num_threads=threads)
    assert np.array_equal(got, confusion_by_numpy(found, wanted, classes, ignored))


def test_many_maps_are_counted_together() -> None:
    rng = np.random.default_rng(0)
    found = [rng.integers(5, size=(4, 3 + i)) for i in range(4)]
    wanted = [rng.integers(5, size=(4, 3 + i)).astype(np.uint8) for i in range(4)]
    alone = [host.confusion_matrix(f, w, 5) for f, w in zip(found, wanted, strict=True)]
    assert np.array_equal(host.confusion_matrix(found, wanted, 5), sum(alone))
    assert not host.confusion_matrix([], [], 5).any()


def test_what_is_predicted_on_ignored_pixels_does_not_matter() -> None:
    found, wanted = np.array([[0, 99, -5]]), np.array([[0, 255, 255]])
    assert host.confusion_matrix(found, wanted, 1, ignore_label=255).tolist() == [[1]]


def test_views_and_transposed_maps_are_read_as_they_look() -> None:
    base = np.random.default_rng(0).integers(4, size=(20, 30))
    view, other = base[::2, ::-1].T, base[1::2].T
    expected = intersections_by_numpy(view, other)
    for ours, theirs in zip(host.panoptic_intersections(view, other), expected, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("found", "wanted", "message"),
    [
        ([[0, 2]], [[0, 1]], r"pixel \(0, 1\) has the label 2 in predictions\[0\] and 1 in ground"),
        ([[0, 1]], [[0, 7]], r"both must be within 0 … 1, or the latter 255 to be ignored"),
        ([[0, 1]], [[-1, 1]], r"pixel \(0, 0\) has the label 0 .* and -1"),
        ([[255, 1]], [[0, 1]], r"pixel \(0, 0\) has the label 255"),
        ([[0, 1]], [[0], [1]], r"predictions\[0\] is \(1, 2\) but ground_truths\[0\] \(2, 1\)"),
    ],
)
def test_labels_that_are_no_classes_are_named(found: list, wanted: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        host.confusion_matrix(np.array(found), np.array(wanted), 2, ignore_label=255)


def test_other_bad_arguments_are_named() -> None:
    labels = np.zeros((2, 3), int)
    with pytest.raises(TypeError, match="prediction must hold integers, got float64"):
        host.panoptic_intersections(labels, labels * 1.0)
    with pytest.raises(ValueError, match=r"ground_truth is \(2, 3\) but prediction \(3, 2\)"):
        host.panoptic_intersections(labels, labels.T)
    with pytest.raises(ValueError, match=r"must be below 2\*\*63"):
        host.panoptic_intersections(labels, np.full((2, 3), 2**64 - 1, np.uint64))
    with pytest.raises(ValueError, match="1 maps in predictions but 2 in ground_truths"):
        host.confusion_matrix([labels], [labels, labels], 1)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        host.confusion_matrix(labels, labels, 0)
