import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_data.checking.polygons import crossing_themselves

SQUARE = [0, 0, 10, 0, 10, 10, 0, 10]
BOW_TIE = [0, 0, 10, 10, 10, 0, 0, 10]


def crosses_itself(polygon):
    return crossing_themselves([polygon]).tolist() == [True]


def regular(corners, step=1):
    """A star of ``corners`` points, joined to every ``step``-th."""
    angles = 2 * np.pi * step * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1).tolist()


def test_square_does_not_and_bow_tie_does():
    assert not crosses_itself(SQUARE)
    assert crosses_itself(BOW_TIE)


@pytest.mark.parametrize(
    "polygon",
    [
        [*SQUARE, 0, 0],  # closed by hand
        [0, 0, 0, 0, 10, 0, 10, 10, 10, 10, 0, 10],  # repeated points
        [0, 0, 10, 0, 10, 10, 5, 0, 0, 10],  # a corner on an edge
        [0, 0, 4, 0, 4, 4, 8, 4, 8, 8, 4, 8, 4, 4, 0, 4],  # two squares that share a corner
        [0, 0, 10, 0, 5, 0, 5, 10],  # an edge that goes back over another
        [0, 0, 1, 1, 2, 2],
        [3, 3, 3, 3, 3, 3],
    ],
)
def test_touching_is_no_crossing(polygon):
    assert not crosses_itself(polygon)


@pytest.mark.parametrize("corners", [5, 7, 301, 1501])
def test_stars_cross_and_their_rims_do_not(corners):
    assert crosses_itself(regular(corners, corners // 2))
    assert not crosses_itself(regular(corners))


def test_crossing_far_from_the_beginning_is_found():
    rim = regular(1500)
    rim[2800:2804] = rim[2802:2804] + rim[2800:2802]  # two neighbouring corners exchanged
    assert crosses_itself(rim)


def test_each_polygon_of_many_gets_its_answer():
    shapes = [SQUARE, BOW_TIE, regular(5, 2), [0, 0, 1, 1, 2, 0], regular(5), regular(7, 3)]
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(shapes), 500)
    answers = np.array([crosses_itself(shape) for shape in shapes])
    found = crossing_themselves([shapes[i] for i in chosen])
    np.testing.assert_array_equal(found, answers[chosen])
    assert crossing_themselves([]).shape == (0,)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=7))
def test_answer_is_that_of_the_definition(points):
    def side(a, b, p):
        return np.sign((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]))

    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    expected = any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for i, (a, b) in enumerate(edges)
        for c, d in edges[:i]
    )
    flat = [value for point in points for value in point]
    assert crosses_itself(flat) == expected
