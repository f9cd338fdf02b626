import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from d2_ops import overlay

few = settings(max_examples=40, deadline=None)
HEIGHT, WIDTH = 20, 24
WHITE = (255, 255, 255, overlay.OPAQUE)
inks = st.tuples(*[st.integers(0, 255)] * 3, st.integers(0, overlay.OPAQUE))


def noise(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def black() -> NDArray[np.uint8]:
    return np.zeros((3, HEIGHT, WIDTH), np.uint8)


def blended(picture: Any, opacity: Any, ink: Any) -> Any:
    weight = opacity * ink[3] / overlay.OPAQUE
    return picture * (1 - weight) + np.array(ink[:3])[:, None, None] * weight


@few
@given(hnp.arrays(np.uint8, (HEIGHT, WIDTH)), inks)
def test_blending_is_the_real_valued_formula_but_for_rounding(
    coverage: NDArray[np.uint8], ink: tuple[int, ...]
) -> None:
    picture = noise()
    exact = blended(picture, coverage / 255, ink)
    overlay.blend_maps(picture, [coverage], [(0, 0)], [ink])
    assert np.abs(picture - exact).max() <= 1.5


@few
@given(st.integers(-2000, 40), st.integers(-30, 30), st.integers(0, 2300), st.integers(0, 30))
def test_maps_wider_and_lower_than_the_picture_are_cut_at_its_borders(
    x: int, y: int, width: int, height: int
) -> None:
    picture = black()
    overlay.blend_maps(picture, [np.full((height, width), 255, np.uint8)], [(x, y)], [WHITE])
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    assert np.array_equal(picture, np.where(expected, 255, 0)[None].repeat(3, 0))
    filled = black()
    overlay.fill_rectangles(filled, [(x, y, x + width, y + height)], [WHITE])
    assert np.array_equal(filled, picture)


def test_rows_longer_than_a_stretch_are_blended_to_their_end() -> None:
    picture = noise(3, 5000)
    exact = picture // 2
    overlay.blend_maps(
        picture, [np.full((3, 5000), 255, np.uint8)], [(0, 0)], [(0, 0, 0, overlay.OPAQUE // 2)]
    )
    assert np.abs(picture.astype(int) - exact).max() <= 1


def test_the_rim_is_opaque_where_a_pixel_is_half_covered_and_absent_elsewhere() -> None:
    coverage = np.array([[0, 16, 64, 127, 128, 191, 239, 255]], np.uint8)
    picture = np.zeros((3, 1, 8), np.uint8)
    clear = (0, 0, 0, 0)
    overlay.blend_maps(picture, [coverage], [(0, 0)], [clear], [WHITE])
    assert picture[0, 0].tolist() == [0, 64, 252, 252, 252, 252, 64, 0]


@few
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_any_number_of_threads_draws_the_same(seed: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, 256, rng.integers(0, 400, 2), dtype=np.uint8) for _ in range(6)]
    corners = rng.integers(-50, 400, (6, 2))
    colors = rng.integers(0, 256, (6, 4))
    paths = [rng.normal(150, 120, (5, 4)) for _ in range(6)]
    pictures = []
    for count in (1, threads):
        picture = noise(300, 320)
        overlay.blend_maps(picture, maps, corners, colors, colors[::-1], num_threads=count)
        overlay.stroke_paths(picture, paths, [3.0] * 6, colors, num_threads=count)
        pictures.append(picture)
    assert np.array_equal(*pictures)


@few
@given(hnp.arrays(np.uint8, (6, 7)), inks, inks)
def test_later_maps_are_laid_over_earlier_ones(
    coverage: NDArray[np.uint8], lower: tuple[int, ...], upper: tuple[int, ...]
) -> None:
    once, twice = noise(), noise()
    overlay.blend_maps(once, [coverage, coverage.T], [(1, -1), (0, 3)], [lower, upper])
    overlay.blend_maps(twice, [coverage], [(1, -1)], [lower])
    overlay.blend_maps(twice, [coverage.T], [(0, 3)], [upper])
    assert np.array_equal(once, twice)


coordinate = st.floats(-40, 60)


@few
@given(st.lists(st.tuples(*[coordinate] * 4), min_size=1, max_size=4), st.floats(0.5, 9), inks)
def test_strokes_cover_pixels_by_their_distance(
    segments: list[tuple[float, ...]], width: float, ink: tuple[int, ...]
) -> None:
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.full((HEIGHT, WIDTH), np.inf)
    for x0, y0, x1, y1 in segments:
        squared = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
        t = np.clip(((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / squared, 0, 1)
        distance = np.minimum(distance, np.hypot(xs - x0 - t * (x1 - x0), ys - y0 - t * (y1 - y0)))
    picture = noise()
    exact = blended(picture, np.clip(width / 2 + 0.5 - distance, 0, 1), ink)
    overlay.stroke_paths(picture, [segments], [width], [ink])
    assert np.abs(picture - exact).max() <= 2.5


def test_lines_far_outside_cost_and_cover_nothing() -> None:
    picture = black()
    far = [[-1e300, -5e299, -1e299, -9e299], [1e9, 1e9, 2e9, 1e9], [1e300, 5, 2e300, 9]]
    overlay.stroke_paths(picture, [far], [3.0], [WHITE])
    assert not picture.any()
    overlay.fill_rectangles(picture, [(-(2**62), -(2**62), 2**62, 2**62)], [WHITE])
    assert (picture == 255).all()


def binomial(mask: NDArray[np.bool_], x0: int, y0: int, height: int, width: int) -> Any:
    """The image with the mask in it, averaged; beyond the image its border goes on."""
    image = np.zeros((height, width))
    image[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]] = mask
    padded = np.pad(image, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return np.minimum(rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:], 15) * 17


@few
@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)),
    st.tuples(*[st.integers(0, 2)] * 4),
)
def test_softening_is_a_binomial_average_of_the_image(
    mask: NDArray[np.bool_], margins: tuple[int, int, int, int]
) -> None:
    x0, y0, right, bottom = margins
    height, width = y0 + mask.shape[0] + bottom, x0 + mask.shape[1] + right
    x, y, coverage = overlay.soften_mask(mask, x0, y0, height, width)
    whole = binomial(mask, x0, y0, height, width)
    part = whole[y : y + coverage.shape[0], x : x + coverage.shape[1]]
    assert np.array_equal(coverage, part)
    assert whole.sum() == part.sum()  # nothing reaches further


def test_nothing_to_draw_changes_nothing() -> None:
    picture = noise()
    overlay.blend_maps(picture, [], [], [])
    overlay.blend_maps(picture, [np.zeros((0, 4), np.uint8)], [(3, 3)], [WHITE])
    overlay.fill_rectangles(picture, [], [])
    overlay.fill_rectangles(picture, [(9, 9, 2, 2)], [WHITE])
    overlay.stroke_paths(picture, [], [], [])
    overlay.stroke_paths(picture, [np.empty((0, 4))], [2.0], [WHITE])
    empty = np.zeros((3, 0, 7), np.uint8)
    overlay.fill_rectangles(empty, [(0, 0, 5, 5)], [WHITE])
    overlay.stroke_paths(empty, [[(0, 0, 5, 5)]], [2.0], [WHITE])
    assert overlay.soften_mask(np.zeros((0, 3), bool), 1, 1, 9, 9)[2].size == 0
    assert np.array_equal(picture, noise())


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "picture must be a uint8 array", lambda: paint(np.zeros((3, 4, 4)))),
        (ValueError, r"shape \(3, H, W\)", lambda: paint(np.zeros((4, 4, 3), np.uint8))),
        (ValueError, "C-contiguous", lambda: paint(noise()[:, :, ::2])),
        (TypeError, r"maps\[0\] must be uint8", lambda: paint(noise(), np.ones((2, 2)))),
        (ValueError, r"maps\[0\] must have shape", lambda: paint(noise(), np.ones(2, np.uint8))),
        (ValueError, r"corners must have shape \(1, 2\)", lambda: paint(noise(), corner=(1, 2, 3))),
        (ValueError, "whole numbers", lambda: paint(noise(), corner=(0.5, 2))),
        (ValueError, r"opacity in 0..256", lambda: paint(noise(), ink=(0, 0, 0, 300))),
        (ValueError, r"0..255", lambda: paint(noise(), ink=(-1, 0, 0, 3))),
        (ValueError, r"0..255", lambda: paint(noise(), ink=(np.nan, 0, 0, 3))),
        (ValueError, "1 inks", lambda: paint(noise(), ink=(1, 0, 0))),
        (ValueError, "positive numbers", lambda: stroke(width=0.0)),
        (ValueError, "NaN or infinity", lambda: stroke((0, 0, np.nan, 4))),
        (ValueError, r"segments of shape \(S, 4\)", lambda: stroke((0, 0, 4))),
        (TypeError, "bool array", lambda: overlay.soften_mask(np.ones((2, 2)), 0, 0, 4, 4)),  # type: ignore[arg-type]  # wrong on purpose
        (ValueError, "4 x 4", lambda: overlay.soften_mask(np.ones((2, 2), bool), 3, 0, 4, 4)),
    ],
)
def test_bad_arguments_are_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def paint(
    picture: Any,
    coverage: Any = None,
    corner: tuple[float, ...] = (0, 0),
    ink: tuple[float, ...] = WHITE,
) -> None:
    full = np.full((2, 2), 255, np.uint8)
    overlay.blend_maps(picture, [full if coverage is None else coverage], [corner], [ink])


def stroke(segment: tuple[float, ...] = (0, 0, 5, 5), width: float = 2.0) -> None:
    overlay.stroke_paths(noise(), [[segment]], [width], [WHITE])


def test_pictures_are_drawn_on_from_several_threads() -> None:
    pictures = [noise(200, 300) for _ in range(4)]
    coverage = np.full((150, 200), 255, np.uint8)
    workers = [
        threading.Thread(
            target=overlay.blend_maps, args=(picture, [coverage] * 20, [(9, 9)] * 20, [WHITE] * 20)
        )
        for picture in pictures
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_drawing_imports_no_torch() -> None:
    code = "import sys; from d2_ops import overlay; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
