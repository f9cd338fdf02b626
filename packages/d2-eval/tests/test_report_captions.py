import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from d2_eval.report.captions import LINE_HEIGHT, Entry, _flow, draw_entries, lines_needed

RED = (255, 0, 0)


def drawn(entries, *, width=200, lines=2):
    image = Image.new("RGB", (300, 3 * LINE_HEIGHT), "white")
    draw_entries(ImageDraw.Draw(image), (10, 0), entries, width=width, lines=lines)
    return np.asarray(image).astype(int)


def test_a_swatch_stands_before_its_text():
    pixels = drawn([Entry("dog", RED)])
    reds = np.argwhere((pixels == RED).all(axis=2))
    inks = np.argwhere(pixels.sum(axis=2) < 250)
    assert reds[:, 1].min() == 10
    assert reds[:, 1].max() < inks[:, 1].min()


@given(
    st.lists(st.text(st.characters(codec="latin-1", categories=["L"]), max_size=30), max_size=12),
    st.integers(70, 250),
    st.integers(1, 2),
)
def test_nothing_is_written_outside_its_lines(texts, width, lines):
    pixels = drawn([Entry(text, RED) for text in texts], width=width, lines=lines)
    written = np.argwhere(pixels.sum(axis=2) < 600)
    if written.size:
        assert written[:, 0].max() < lines * LINE_HEIGHT
        assert written[:, 1].min() >= 10
        assert written[:, 1].max() <= 10 + width + 1


@given(
    st.lists(st.sampled_from(["cat", "traffic light", "ox"]), max_size=30), st.integers(150, 250)
)
def test_what_is_left_out_is_counted(texts, width):
    shown = [entry for line in _flow([Entry(t, RED) for t in texts], width, 2) for entry in line]
    names = [entry.text for entry in shown if entry.color]
    left_out = sum(int(entry.text) for entry in shown if not entry.color)
    assert names == texts[: len(names)]
    assert len(names) + left_out == len(texts)


@pytest.mark.parametrize(("count", "lines"), [(0, 0), (1, 1), (6, 2), (50, 2)])
def test_lines_are_counted_up_to_the_limit(count, lines):
    assert lines_needed([Entry("cat", RED)] * count, 200, 2) == lines


def test_names_in_any_script_differ():
    cup, tea = (drawn([Entry(name, RED)]) for name in ("茶碗", "茶壺"))
    assert (cup != tea).any()
