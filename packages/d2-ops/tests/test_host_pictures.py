import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2_ops import host

Picture = NDArray[np.uint8]
Array = NDArray[np.int64]
WEIGHT = 1 << 22


def weights_by_definition(before: int, after: int) -> Array:
    """(after, before): a tent over each new pixel, as wide as two pixels at least, in 2**-22."""
    scale = before / after
    reach = max(scale, 1.0)
    made = np.zeros((after, before), np.int64)
    for i in range(after):
        centre = (i + 0.5) * scale
        first, end = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), before)
        tent = [max(1 - abs((j - centre + 0.5) * (1 / reach)), 0.0) for j in range(first, end)]
        made[i, first:end] = [int(0.5 + share / sum(tent) * WEIGHT) for share in tent]
    return made


def along_rows(picture: Array, weights: Array) -> Array:
    sums = np.einsum("hwc,nw->hnc", picture, weights)
    return (sums + WEIGHT // 2 >> 22).clip(0, 255)


def resized_by_definition(picture: Picture, height: int, width: int) -> Array:
    """One direction, rounded, then the other."""
    values = picture.astype(np.int64)
    h, w, _ = picture.shape
    across, down = weights_by_definition(w, width), weights_by_definition(h, height)
    if height < h and h - height > 2 * (w - width):
        return along_rows(along_rows(values.swapaxes(0, 1), down).swapaxes(0, 1), across)
    return along_rows(along_rows(values, across).swapaxes(0, 1), down).swapaxes(0, 1)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.tuples(*[st.integers(1, 70)] * 4),
    channels=st.sampled_from([1, 3, 4]),
    threads=st.integers(1, 3),
)
def test_pictures_are_resized_by_definition(
    seed: int, sizes: tuple[int, int, int, int], channels: int, threads: int
) -> None:
    h, w, height, width = sizes
    picture = np.random.default_rng(seed).integers(0, 256, (h, w, channels), dtype=np.uint8)
    found = host.resize_picture(picture, height, width, num_threads=threads)
    np.testing.assert_array_equal(found, resized_by_definition(picture, height, width))


@pytest.mark.parametrize(
    ("size", "columns_first"),
    [
        ((800, 1067), False),
        ((240, 320), False),
        ((37, 901), True),
        ((300, 600), True),
        ((900, 41), False),
        ((480, 640), False),
    ],
)
def test_pictures_are_resized_as_pillow_does(size: tuple[int, int], columns_first: bool) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    height, width = size
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    bilinear = image.Resampling.BILINEAR
    # In two steps, as the order of the passes depends on Pillow's version.
    between = (640, height) if columns_first else (width, 480)
    resized = image.fromarray(picture).resize(between, bilinear).resize((width, height), bilinear)
    np.testing.assert_array_equal(host.resize_picture(picture, height, width), np.asarray(resized))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255))
def test_one_colour_stays_one_colour(height: int, width: int, value: int) -> None:
    picture = np.full((17, 23, 3), value, np.uint8)
    assert (host.resize_picture(picture, height, width) == value).all()


def test_a_picture_of_the_same_size_is_a_copy() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (19, 21, 3), dtype=np.uint8)
    copy = host.resize_picture(picture, 19, 21)
    np.testing.assert_array_equal(copy, picture)
    copy[:] = 0
    assert picture.any()


def test_channels_are_planes_and_grey_pictures_stay_flat() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    found = host.resize_picture(picture[:, ::-1], 20, 30)
    assert found.shape == (20, 30, 3)
    assert found.transpose(2, 0, 1).flags.c_contiguous
    grey = host.resize_picture(picture[..., 1], 20, 30)
    assert grey.shape == (20, 30)
    alone = host.resize_picture(np.ascontiguousarray(picture[..., 1]), 20, 30)
    np.testing.assert_array_equal(grey, alone)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((3, 3), np.float32), "got float32 of shape"),
        (np.zeros((2, 3, 3, 3), np.uint8), r"of shape \(2, 3, 3, 3\)"),
        (np.zeros((0, 3, 3), np.uint8), r"of shape \(0, 3, 3\)"),
    ],
)
def test_other_arrays_are_refused(picture: Picture, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        host.resize_picture(picture, 4, 5)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_sizes_that_cannot_be_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="wanted height and width of 1 or more"):
        host.resize_picture(np.zeros((3, 3), np.uint8), *size)
