"""Which font writes a text, and what becomes of characters that none has."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from d2_structures.visualizer import fonts
from d2_structures.visualizer.fonts import font_for
from d2_structures.visualizer.text import make_tag


@pytest.fixture
def no_system_fonts(monkeypatch):
    font_for.cache_clear()
    monkeypatch.setattr(fonts, "_SYSTEM_FONTS", ("no such font.ttf",))
    yield
    font_for.cache_clear()


def test_latin_text_is_written_in_the_own_font_as_it_is():
    font, text = font_for("teddy bear 99%", 14)
    assert text == "teddy bear 99%"
    assert font.getname() == ImageFont.load_default(14).getname()


@pytest.mark.usefixtures("no_system_fonts")
def test_characters_without_a_glyph_become_numbers_or_their_letters():
    assert font_for("茶碗", 14)[1] == "U+8336 U+7897 "
    assert font_for("Zürich ½", 14)[1] in ("Zurich 12", "Zürich ½", "Zurich ½", "Zürich 12")


@pytest.mark.usefixtures("no_system_fonts")
@pytest.mark.parametrize("names", [("茶碗", "机器"), ("кот", "пёс"), ("كلب", "قطة"), ("개", "말")])
def test_names_of_any_script_look_different_without_any_font(names):
    one, other = (make_tag(name, 13) for name in names)
    assert one.letters.max() > 0
    assert one.letters.shape != other.letters.shape or (one.letters != other.letters).any()


@pytest.mark.usefixtures("no_system_fonts")
def test_pictures_hold_no_sign_of_a_missing_glyph():
    font, text = font_for("a茶", 20)
    missing = np.array(Image.new("L", (40, 40)))
    canvas = Image.fromarray(missing)
    ImageDraw.Draw(canvas).text((0, 0), text, fill=255, font=font)
    assert all(fonts._has_glyph(font, character) for character in text)
    assert np.array(canvas).any()


def test_font_of_the_system_that_has_all_characters_is_taken(monkeypatch):
    font_for.cache_clear()
    own = ImageFont.load_default(14)
    covering = ImageFont.load_default(15)
    monkeypatch.setattr(fonts, "_SYSTEM_FONTS", ("poor", "rich"))
    monkeypatch.setattr(fonts, "_system_font", lambda name, size: {"rich": covering}.get(name))
    monkeypatch.setattr(fonts, "_covers", lambda font, characters: font is covering)
    assert font_for("茶碗", 14) == (covering, "茶碗")
    assert own is not covering
    font_for.cache_clear()
