import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_structures.visualizer.colors import (
    Color,
    color_from_bytes,
    contrasting_text_color,
    jittered,
    lightened,
    parse_color,
    shaded,
)
from d2_structures.visualizer.palette import PALETTE_SIZE, palette_color

unit = st.floats(0, 1)
small = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize(
    ("written", "rgb", "opacity"),
    [
        ((0.5, 0.25, 1), (0.5, 0.25, 1), 1),
        ([1, 0, 0, 0.5], (1, 0, 0), 0.5),
        (np.array([0.0, 1.0, 0.0]), (0, 1, 0), 1),
        (("red", 0.25), (1, 0, 0), 0.25),
        (((0, 0, 1), 0.5), (0, 0, 1), 0.5),
        ("#0f0", (0, 1, 0), 1),
        ("#00ff0080", (0, 1, 0), 128 / 255),
        ("#0F08", (0, 1, 0), 136 / 255),
        ("0.75", (0.75, 0.75, 0.75), 1),
        ("g", (0, 0.5, 0), 1),
        ("c", (0, 0.75, 0.75), 1),
        ("C0", (31 / 255, 119 / 255, 180 / 255), 1),
        ("C11", (255 / 255, 127 / 255, 14 / 255), 1),
        ("tab:grey", (127 / 255, 127 / 255, 127 / 255), 1),
        ("SlateGrey", (112 / 255, 128 / 255, 144 / 255), 1),
        ("none", (0, 0, 0), 0),
    ],
)
def test_colour_formats_of_matplotlib_are_read(written, rgb, opacity):
    color = parse_color(written)
    assert color[:3] == pytest.approx(rgb)
    assert color.opacity == pytest.approx(opacity)


def test_every_single_name_agrees_with_matplotlib():
    colors = pytest.importorskip("matplotlib.colors", reason="matplotlib is an optional peer")
    names = [
        *colors.CSS4_COLORS,
        *colors.TABLEAU_COLORS,
        *"bgrcmykw",
        *(f"C{i}" for i in range(12)),
    ]
    differing = [n for n in names if not np.allclose(parse_color(n), colors.to_rgba(n), atol=1e-9)]
    assert differing == []


@pytest.mark.parametrize("bad", [(300, 0, 0), (1, 1), "#12345", None, 7, ("red", 2), (1, "a", 0)])
def test_a_value_that_is_no_colour_is_refused_with_what_was_got(bad):
    with pytest.raises(ValueError, match=r"got colour|unknown colour"):
        parse_color(bad)


def test_a_misspelled_name_gets_close_matches():
    with pytest.raises(ValueError, match="'orange'"):
        parse_color("ornage")


def test_byte_values_are_told_to_be_divided():
    with pytest.raises(ValueError, match="divide byte values by 255"):
        parse_color((255, 0, 0))


def test_metadata_colours_are_bytes():
    assert color_from_bytes([255, 0, 51])[:3] == pytest.approx((1, 0, 0.2))
    with pytest.raises(ValueError, match=r"0\.\.255"):
        color_from_bytes((256, 0, 0))


@small
@given(st.tuples(unit, unit, unit), st.floats(-1, 1), st.integers(0, 500))
def test_derived_colours_stay_in_range(rgb, amount, index):
    color = Color(*rgb)
    for derived in (shaded(color, amount), jittered(color, index), lightened(color)):
        assert all(-1e-9 <= value <= 1 + 1e-9 for value in derived)


@small
@given(st.tuples(unit, unit, unit))
def test_text_differs_clearly_from_its_background(rgb):
    text = contrasting_text_color(Color(*rgb))
    luma = np.array([0.299, 0.587, 0.114])
    assert abs(luma @ np.subtract(text[:3], rgb)) > 0.25


def test_index_zero_keeps_the_category_colour():
    assert jittered(Color(0.5, 0.4, 0.3), 0) == pytest.approx(Color(0.5, 0.4, 0.3))


def test_palette_is_fixed_distinct_and_repeats():
    colors = np.array([palette_color(i)[:3] for i in range(PALETTE_SIZE)])
    assert ((colors >= 0) & (colors <= 1)).all()
    first = colors[:20]
    distances = np.linalg.norm(first[:, None] - first, axis=2)[~np.eye(20, dtype=bool)]
    assert distances.min() > 0.12
    assert palette_color(PALETTE_SIZE + 3) == palette_color(3)
