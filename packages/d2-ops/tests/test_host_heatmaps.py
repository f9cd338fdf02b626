import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from d2_ops import host

Array = NDArray[np.float32]


def check_by_definition(maps: Array, rois: Array, found: Array) -> None:
    """Enlarge one map after the other in float64: what was found must be as high as any pixel."""
    for i, (x1, y1, x2, y2) in enumerate(rois.astype(np.float64)):
        width, height = max(x2 - x1, 1), max(y2 - y1, 1)
        rows, columns = int(np.ceil(height)), int(np.ceil(width))
        image = torch.from_numpy(maps[i : i + 1]).double()
        enlarged = F.interpolate(image, (rows, columns), mode="bicubic")[0].numpy()
        for one, values, (x, y, logit, score) in zip(maps[i], enlarged, found[i], strict=True):
            column, row = (x - x1) * columns / width - 0.5, (y - y1) * rows / height - 0.5
            assert max(abs(column - round(column)), abs(row - round(row))) < 1e-3
            assert values[round(row), round(column)] > values.max() - 1e-5 * np.abs(one).max()
            assert abs(logit - values.max()) < 1e-5 * np.abs(one).max()
            assert np.isclose(score, 1 / np.exp(one - np.float64(logit)).sum(), rtol=1e-5)


def smooth_maps(rng: np.random.Generator, count: int, height: int, width: int) -> Array:
    """Maps with one clear peak each, as predictions have."""
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0, 1, (2, count, 3, 1, 1)) * np.array([height, width]).reshape(
        2, 1, 1, 1, 1
    )
    maps = 8 - 0.05 * ((y - centres[0]) ** 2 + (x - centres[1]) ** 2)
    return (maps + rng.normal(0, 0.01, maps.shape)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    largest=st.sampled_from([3.0, 60.0, 700.0]),
    smooth=st.booleans(),
)
def test_it_finds_the_highest_pixel_of_the_enlarged_map(
    seed: int, shape: tuple[int, int, int], largest: float, smooth: bool
) -> None:
    rng = np.random.default_rng(seed)
    count, height, width = shape
    maps = rng.normal(0, 2, (count, 3, height, width)).astype(np.float32)
    if smooth:
        maps = smooth_maps(rng, *shape)
    start = rng.uniform(-20, 100, (count, 2))
    size = rng.uniform(0, 1, (count, 2)) * [largest, min(largest, 80)]
    rois = np.hstack([start, start + size]).astype(np.float32)
    # Widths are rounded up to pixels: keep clear of whole numbers, where float32 decides.
    rois[:, 2:] = rois[:, :2] + np.float32(0.25) + np.floor(size).astype(np.float32)
    check_by_definition(maps, rois, host.heatmaps_to_keypoints(maps, rois))


def test_of_equal_pixels_the_first_counts_and_scores_are_probabilities() -> None:
    found = host.heatmaps_to_keypoints(np.zeros((1, 1, 4, 4)), [[0, 0, 4, 4]])
    assert found.tolist() == [[[0.5, 0.5, 0.0, 1 / 16]]]
    maps = np.zeros((1, 1, 4, 4), np.float32)
    maps[0, 0, 1, 2] = maps[0, 0, 3, 0] = 5
    assert host.heatmaps_to_keypoints(maps, [[0, 0, 4, 4]])[0, 0, :3].tolist() == [2.5, 1.5, 5]
    wide = np.zeros((1, 1, 1, 600), np.float32)
    assert host.heatmaps_to_keypoints(wide, [[0, 0, 1200, 3]])[0, 0, :2].tolist() == [0.5, 0.5]


def test_a_region_without_area_counts_as_one_pixel() -> None:
    maps = np.random.default_rng(0).normal(0, 9, (1, 3, 14, 12))
    found = host.heatmaps_to_keypoints(maps, [[5, 6, 5, 6]])
    assert found[0, :, :2].tolist() == [[5.5, 6.5]] * 3
    assert np.isfinite(found).all()


def test_threads_and_neighbours_change_nothing() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(20, 3, 16, 16)).astype(np.float32)
    start = rng.uniform(0, 90, (20, 2))
    rois = np.hstack([start, start + rng.uniform(0, 90, (20, 2))])
    alone = host.heatmaps_to_keypoints(maps, rois, num_threads=1)
    assert np.array_equal(host.heatmaps_to_keypoints(maps, rois, num_threads=3), alone)
    assert np.array_equal(host.heatmaps_to_keypoints(maps[7:8], rois[7:8]), alone[7:8])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_have_no_logit_and_no_score(value: float) -> None:
    maps = np.zeros((1, 2, 5, 5), np.float32)
    maps[0, 1, 2, 3] = value
    found = host.heatmaps_to_keypoints(maps, [[0, 0, 9, 9]])
    assert np.isfinite(found[0, 0]).all()
    assert np.isfinite(found[0, 1, :2]).all()
    assert np.isnan(found[0, 1, 2:]).all()


@pytest.mark.parametrize("shape", [(0, 17, 56, 56), (2, 0, 56, 56), (2, 3, 0, 4)])
def test_nothing_gives_nothing(shape: tuple[int, ...]) -> None:
    found = host.heatmaps_to_keypoints(np.zeros(shape), np.zeros((shape[0], 4)))
    assert found.shape == (*shape[:2], 4)
    assert not found.any()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 4, 4\) and \(3, 4\)"):
        host.heatmaps_to_keypoints(np.zeros((3, 4, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"got \(2, 1, 4, 4\) and \(3, 4\)"):
        host.heatmaps_to_keypoints(np.zeros((2, 1, 4, 4)), np.zeros((3, 4)))
    for value in (np.nan, np.inf, 1e9):
        with pytest.raises(ValueError, match=r"rois\[1\] is not finite or beyond 2\*\*24"):
            host.heatmaps_to_keypoints(np.zeros((2, 1, 4, 4)), [[0, 0, 1, 1], [0, 0, 1, value]])


def test_the_work_on_an_enormous_region_is_bounded() -> None:
    rng = np.random.default_rng(0)
    maps = smooth_maps(rng, 2, 14, 12)
    maps[1] = rng.normal(size=maps[1].shape)  # of noise, no row can be left out early
    corners = [[-(2.0**24), -(2.0**24), 2.0**24, 2.0**24], [0, 0, 2.0**24, 2.0**24]]
    rois = np.array(corners, np.float32)
    found = host.heatmaps_to_keypoints(maps, rois)
    capped = host.heatmaps_to_keypoints(maps, np.array([[0, 0, 4096, 4096]] * 2, np.float32))
    scale = (rois[:, None, 2:] - rois[:, None, :2]) / 4096
    np.testing.assert_allclose(
        found[..., :2], capped[..., :2] * scale + rois[:, None, :2], rtol=1e-6
    )
    np.testing.assert_array_equal(found[..., 2:], capped[..., 2:])


def test_regions_up_to_the_bound_are_enlarged_to_their_pixels() -> None:
    maps = smooth_maps(np.random.default_rng(1), 1, 7, 7)
    rois = np.array([[0, 0, 4095.5, 20]], np.float32)
    check_by_definition(maps, rois, host.heatmaps_to_keypoints(maps, rois))
