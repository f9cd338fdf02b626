import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2_structures.visualizer.canvas import Canvas, Frame, Patch, Rect, Stroke
from d2_structures.visualizer.colors import Color, parse_color
from d2_structures.visualizer.components import find_components, without_small_components
from d2_structures.visualizer.label_layout import LabelLayout
from d2_structures.visualizer.mask_kinds import crop_to_content
from d2_structures.visualizer.silhouettes import binary_silhouette, polygon_silhouette
from d2_structures.visualizer.strokes import closed_segments, dashed, path_segments

small = settings(max_examples=40, deadline=None)
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def noise(height=30, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_canvas_returns_the_image_it_was_given():
    image = noise()
    assert np.array_equal(Canvas(image).to_image(), image)


@small
@given(st.integers(-20, 50), st.integers(-20, 50), st.integers(1, 30), st.integers(1, 30))
def test_a_frame_changes_only_the_border_of_its_rectangle(x0, y0, width, height):
    canvas = Canvas(np.zeros((30, 40, 3), np.uint8))
    canvas.frame([Frame(Rect(x0, y0, x0 + width, y0 + height), 2, Color(1, 1, 1), 1.0)])
    expected = np.zeros((30, 40), bool)
    expected[max(y0, 0) : max(y0 + height, 0), max(x0, 0) : max(x0 + width, 0)] = True
    if min(width, height) > 4:
        inner = slice(max(y0 + 2, 0), max(y0 + height - 2, 0))
        expected[inner, max(x0 + 2, 0) : max(x0 + width - 2, 0)] = False
    assert np.array_equal(canvas.to_image() == 255, np.repeat(expected[..., None], 3, axis=2))


def test_a_frame_is_laid_on_once_at_its_corners():
    canvas = Canvas(np.zeros((30, 40, 3), np.uint8))
    canvas.frame([Frame(Rect(5, 5, 25, 20), 3, Color(1, 1, 1), 0.5)])
    assert set(np.unique(canvas.to_image())) == {0, 128}


def test_an_invisible_colour_changes_nothing():
    image = noise()
    canvas = Canvas(image)
    nothing = parse_color("none")
    canvas.lay([Patch(2, 2, np.full((9, 9), 255, np.uint8), nothing)])
    canvas.frame([Frame(Rect(0, 0, 40, 30), 2, nothing, 1.0)])
    canvas.stroke([Stroke(np.array([[0.0, 0.0, 40.0, 30.0]]), 3, nothing)])
    assert np.array_equal(canvas.to_image(), image)


def test_overlapping_segments_are_laid_on_once():
    segment = np.array([[5.0, 15.0, 35.0, 15.0]])
    once, twice = Canvas(noise()), Canvas(noise())
    once.stroke([Stroke(segment, 4, Color(1, 0, 0), 0.5)])
    twice.stroke([Stroke(np.repeat(segment, 3, axis=0), 4, Color(1, 0, 0), 0.5)])
    assert np.array_equal(once.to_image(), twice.to_image())


def test_the_opacity_of_a_colour_multiplies_alpha():
    whole = np.full((30, 40), 255, np.uint8)
    once, twice = Canvas(noise()), Canvas(noise())
    once.lay([Patch(0, 0, whole, Color(1, 0, 0, 0.5), 0.5)])
    twice.lay([Patch(0, 0, whole, Color(1, 0, 0), 0.25)])
    assert np.array_equal(once.to_image(), twice.to_image())


@pytest.mark.parametrize("style", ["--", "-.", ":", "dashed", "dotted"])
def test_dashes_lie_on_the_path_and_leave_gaps(style):
    square = closed_segments(np.array([[0.0, 0.0], [50.0, 0.0], [50.0, 50.0], [0.0, 50.0]]))
    pieces = dashed(square, style, 2)
    lengths = np.hypot(*(pieces[:, 2:] - pieces[:, :2]).T)
    assert 0 <= lengths.sum() < 180
    on_border = np.isin(pieces.round(6), [0, 50]).reshape(-1, 2, 2).any(axis=2)
    assert on_border.all()


def test_solid_lines_are_kept_and_none_draws_nothing():
    path = path_segments(np.array([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]]))
    assert dashed(path, "solid", 2) is path
    assert len(dashed(path, "None", 2)) == 0
    with pytest.raises(ValueError, match="line style 'wavy'"):
        dashed(path, "wavy", 2)


def flood_components(mask):
    """Oracle: 8-connected areas by flood fill, largest first."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    areas = []
    while left:
        stack, area = [left.pop()], 0
        while stack:
            y, x = stack.pop()
            area += 1
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
        areas.append(area)
    return sorted(areas, reverse=True)


@small
@given(masks)
def test_components_match_a_flood_fill(mask):
    components = find_components(mask)
    assert [c.area for c in components] == flood_components(mask)
    assert all(mask[int(c.anchor[1]), int(np.ceil(c.anchor[0]) - 1)] for c in components)


@small
@given(masks, st.integers(0, 12))
def test_small_components_are_removed_and_large_ones_kept(mask, threshold):
    kept = without_small_components(mask, threshold)
    assert not (kept & ~mask).any()
    assert flood_components(kept) == [a for a in flood_components(mask) if a >= threshold]


@small
@given(masks)
def test_cropping_keeps_every_set_pixel(mask):
    crop = crop_to_content(mask)
    restored = np.zeros_like(mask)
    rows, columns = crop.pixels.shape
    restored[crop.y0 : crop.y0 + rows, crop.x0 : crop.x0 + columns] = crop.pixels
    assert np.array_equal(restored, mask)
    if mask.any():
        assert crop.pixels[[0, -1]].any(axis=1).all()
        assert crop.pixels[:, [0, -1]].any(axis=0).all()


@small
@given(masks, st.sampled_from([0.5, 1.0, 1.7, 3.0]))
def test_silhouettes_cover_about_the_area_of_the_mask(mask, scale):
    silhouette = binary_silhouette(crop_to_content(mask), mask.shape, scale)
    border = 4 * mask.sum() + 8  # the smoothing moves at most part of every border pixel
    assert abs(silhouette.area / scale**2 - mask.sum()) <= border
    if mask.all() and scale == 1.0:
        assert (silhouette.coverage == 255).all()


def test_silhouette_keeps_to_a_pixel_around_the_mask():
    mask = np.zeros((20, 20), bool)
    mask[5:9, 6:15] = True
    silhouette = binary_silhouette(crop_to_content(mask), mask.shape, 1.0)
    assert silhouette.rect == Rect(5, 4, 16, 10)
    assert (silhouette.coverage[2:-2, 2:-2] == 255).all()


@pytest.mark.parametrize("size", [7.0, 33.25, 900.0])
def test_polygon_coverage_has_the_area_of_the_polygon(size):
    triangle = np.array([[2.0, 3.0], [2.0 + size, 3.0], [2.0, 3.0 + size]])
    silhouette = polygon_silhouette([triangle], 1000, 1000)
    assert silhouette.area == pytest.approx(size * size / 2, rel=0.01, abs=1.5 * size)


def test_overlapping_polygons_of_one_instance_are_filled_once():
    square = np.array([[2.0, 2.0], [10.0, 2.0], [10.0, 10.0], [2.0, 10.0]])
    one = polygon_silhouette([square], 20, 20)
    two = polygon_silhouette([square, square], 20, 20)
    assert np.array_equal(one.coverage, two.coverage)


@small
@given(st.lists(st.tuples(st.floats(-50, 350), st.floats(-50, 250)), max_size=9))
def test_labels_stay_inside_and_apart_while_there_is_room(points):
    layout, size = LabelLayout(300, 200), (30, 8)
    rects = []
    for x, y in points:
        left, top = layout.place_at_box((x, y, x + 20, y + 20), size)
        rects.append((left, top, left + size[0], top + size[1]))
    for i, a in enumerate(rects):
        assert a[0] >= 0
        assert a[1] >= 0
        assert a[2] <= 300
        assert a[3] <= 200
        for b in rects[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_a_free_label_sits_on_the_upper_left_corner_of_its_box():
    assert LabelLayout(300, 200).place_at_box((50, 60, 90, 120), (30, 8)) == (50, 52)


def test_a_label_larger_than_the_picture_starts_at_its_corner():
    assert LabelLayout(20, 10).place_at_point((10, 5), (50, 30)) == (0, 0)


def test_desaturation_touches_only_the_chosen_pixels():
    image = noise()
    where = np.zeros((30, 40), bool)
    where[:, 20:] = True
    canvas = Canvas(image)
    canvas.desaturate(where)
    result = canvas.to_image()
    assert np.array_equal(result[:, :20], image[:, :20])
    assert (result[:, 20:] == result[:, 20:, :1]).all()
