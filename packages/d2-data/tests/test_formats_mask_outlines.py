import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2_data.formats import mask_polygons
from d2_ops.host import polygons_to_bitmask


def masks(longest: int):
    sides = st.integers(1, longest)
    return arrays(bool, st.tuples(sides, sides), elements=st.booleans())


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


@settings(max_examples=150, deadline=None)
@given(masks(12))
def test_traced_polygons_rasterise_to_exactly_the_mask(mask):
    polygons = mask_polygons(mask)
    drawn = polygons_to_bitmask([np.array(p, dtype=np.float64) for p in polygons], *mask.shape)
    np.testing.assert_array_equal(drawn, mask)
    assert all(len(polygon) >= 8 for polygon in polygons)


@settings(max_examples=60, deadline=None)
@given(masks(9))
def test_traced_polygons_do_not_overlap_and_have_no_needless_corner(mask):
    total = 0.0
    for polygon in mask_polygons(mask):
        corners = np.array(polygon).reshape(-1, 2)
        total += area(corners.astype(float))
        steps = np.diff(corners, axis=0, append=corners[:1])
        assert ((steps[:, 0] == 0) != (steps[:, 1] == 0)).all()
        assert ((steps[:, 0] == 0) != (np.roll(steps, 1, axis=0)[:, 0] == 0)).all()
    assert total == mask.sum()


@given(masks(6), st.integers(0, 5), st.integers(0, 5))
def test_moving_a_mask_moves_its_polygons(mask, down, right):
    moved = np.pad(mask, ((down, 3), (right, 2)))
    expected = [
        [value + (down if place % 2 else right) for place, value in enumerate(polygon)]
        for polygon in mask_polygons(mask)
    ]
    assert mask_polygons(moved) == expected


def test_a_ring_is_cut_into_two_polygons():
    mask = np.ones((5, 5), dtype=bool)
    mask[2, 2] = False
    assert len(mask_polygons(mask)) == 2


def test_an_empty_mask_has_no_outline():
    assert mask_polygons(np.zeros((3, 4), dtype=bool)) == []
