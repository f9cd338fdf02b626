import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2_data.conversion.joined_polygons import joined_polygon
from d2_ops.host import polygons_to_bitmask


def shoelace(polygon):
    x, y = polygon.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


@given(st.lists(arrays(np.int64, (4, 2), elements=st.integers(0, 50)), min_size=1, max_size=5))
def test_joining_encloses_the_same_area_and_keeps_all_corners(polygons):
    joined = joined_polygon([polygon.astype(float) for polygon in polygons])
    assert shoelace(joined) == pytest.approx(sum(map(shoelace, polygons)))
    assert len(joined) == sum(map(len, polygons)) + 2 * (len(polygons) - 1)
    corners = {tuple(corner) for polygon in polygons for corner in polygon.tolist()}
    assert {tuple(corner) for corner in joined.tolist()} == corners


def test_parts_are_joined_at_their_closest_corners():
    left = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    right = left + np.array([5, 1])
    joined = joined_polygon([left, right])
    assert [7, 3] in joined.tolist()
    steps = np.abs(np.diff(joined, axis=0, append=joined[:1])).sum(axis=1)
    assert sorted(steps.tolist())[-2:] == [4, 4]  # from (2, 2) to (5, 1) and back


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, unique=True))
def test_joined_pixels_are_drawn_as_their_union(pixels):
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    polygons = [(square + pixel).astype(float) for pixel in pixels]
    drawn = polygons_to_bitmask([joined_polygon(polygons).reshape(-1)], 6, 6)
    expected = np.zeros((6, 6), bool)
    for x, y in pixels:
        expected[y, x] = True
    np.testing.assert_array_equal(drawn, expected)
