"""Parts of polygons inside a window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.transforms.polygon_clipping import clip_polygon
from d2_ops.host import polygons_to_bitmask

MODEST = settings(max_examples=60, deadline=None)
COMB = np.array([[0, 0], [9, 0], [9, 6], [6, 6], [6, 3], [3, 3], [3, 6], [0, 6.0]])
WINDOW = (3.0, 4.0, 17.0, 15.0)


def area(polygon):
    x, y = polygon.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def inside(polygon, x, y):
    """Even-odd filling at the places (x, y)."""
    filled = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        filled ^= crosses & (x < (x2 - x1) * (y - y1) / ((y2 - y1) or 1) + x1)
    return filled


@pytest.mark.parametrize("kind", ["float", "integer"])
@MODEST
@given(st.integers(3, 14), st.integers(0, 10**6))
def test_parts_cover_what_even_odd_filling_covers_and_do_not_overlap(kind, n, seed):
    draw = np.random.default_rng(seed)
    polygon = draw.uniform(-5, 25, (n, 2))
    if kind == "integer":
        polygon = polygon.round()
    x, y = np.meshgrid(np.linspace(3.0101, 16.99, 97), np.linspace(4.01013, 14.99, 83))
    filled = np.zeros(x.shape, bool)
    for part in clip_polygon(polygon, WINDOW):
        assert (part >= WINDOW[:2]).all()
        assert (part <= WINDOW[2:]).all()
        covered = inside(part, x, y)
        assert not (covered & filled).any()
        filled |= covered
    assert (filled != inside(polygon, x, y)).mean() < 1e-3


@MODEST
@given(
    st.integers(3, 12),
    st.floats(2, 20),
    st.tuples(st.floats(0, 30), st.floats(0, 30)),
    st.randoms(use_true_random=False),
)
def test_box_of_the_parts_is_that_of_the_star_in_the_window(n, radius, middle, rng):
    angles = np.sort([rng.uniform(0, 2 * np.pi) for _ in range(n)])
    radii = np.array([rng.uniform(0.2, 1) * radius for _ in range(n)])
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] + middle
    window = (8, 6, 24, 24)
    parts = clip_polygon(star, window)
    fine = 8
    drawn = polygons_to_bitmask([(star * fine + 400).reshape(-1)], 120 * fine, 120 * fine)
    rows, columns = np.nonzero(drawn[448:592, 464:592])
    if not len(rows):
        assert sum(map(area, parts)) < 0.5
        return
    expected = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / fine
    points = np.concatenate(parts) - [8, 6]
    # The rasteriser leaves out what is thinner than a pixel, an eighth of ours.
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    assert (box[:2] <= expected[:2] + 0.2).all()
    assert (box[2:] >= expected[2:] - 0.2).all()


def test_polygon_inside_the_window_is_untouched_and_outside_disappears():
    square = np.array([[2.0, 2.0], [4.0, 2.0], [4.0, 4.0], [2.0, 4.0]])
    (same,) = clip_polygon(square, (0, 0, 10, 10))
    np.testing.assert_array_equal(same, square)
    assert clip_polygon(square, (5, 5, 10, 10)) == []
    assert clip_polygon(square, (4, 0, 10, 10)) == []
    (cut,) = clip_polygon(square, (3, 3, 10, 10))
    assert area(cut) == 1


def test_polygon_that_falls_apart_becomes_its_parts():
    parts = clip_polygon(COMB, (0, 4, 9, 9))
    assert [area(part) for part in parts] == [6, 6]
    assert sorted(part[:, 0].min() for part in parts) == [0, 6]


def test_no_corner_of_the_window_stays_in_a_polygon_that_goes_round_it():
    # From outside the top-left corner two arms reach into the window.
    arms = [[-3, -3], [10, -3], [10, 2], [8, 2], [8, -1], [-1, -1], [-1, 8], [2, 8], [2, 10]]
    parts = clip_polygon(np.array([*arms, [-3, 10.0]]), (0, 0, 20, 20))
    boxes = sorted([*part.min(axis=0), *part.max(axis=0)] for part in parts)
    assert boxes == [[0, 8, 2, 10], [8, 0, 10, 2]]


def test_bow_tie_keeps_both_wings():
    # Its signed area is zero.
    bow_tie = np.array([[0, 0], [10, 10], [10, 0], [0, 10.0]])
    (clipped,) = clip_polygon(bow_tie, (2, 0, 20, 20))
    assert polygons_to_bitmask([clipped.reshape(-1)], 10, 10).sum() == pytest.approx(34, abs=8)
    np.testing.assert_array_equal(clipped.min(axis=0), [2, 0])
    np.testing.assert_array_equal(clipped.max(axis=0), [10, 10])


def test_parts_of_a_polygon_that_crosses_itself_are_joined_where_they_overlap():
    # Two rings of one outline: where they overlap, even-odd filling leaves a hole.
    ring = [[0, 0], [12, 0], [12, 12], [0, 12]]
    other = [[x + 6, y + 6] for x, y in ring]
    outline = np.array([*ring, ring[0], [-9, -9], *other, other[0], [-9, -9]], dtype=float)
    parts = clip_polygon(outline, (0, 0, 30, 30))
    masks = [polygons_to_bitmask([part.reshape(-1)], 30, 30) for part in parts]
    union = np.logical_or.reduce(masks)
    assert not union[7:11, 7:11].any()
    assert union.sum() == pytest.approx(2 * 144 - 2 * 36, abs=30)
