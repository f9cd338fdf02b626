"""A font that can write a text, whatever its script, or the text in signs that the font has."""

import functools
import unicodedata

from PIL import ImageFont

__all__ = ["Font", "font_for"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "msyh.ttc",
    "simsun.ttc",
    "msgothic.ttc",
    "malgun.ttf",
    "segoeui.ttf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "unifont.ttf",
)
"""Files of fonts by the scripts that they cover, as systems and their packages name them."""

_NEVER_A_GLYPH = "\uffff"


@functools.lru_cache(maxsize=4096)
def font_for(text: str, font_size: int) -> tuple[Font, str]:
    """Find out how to write a text.

    Pillow's own font writes ASCII. Other text is written in the first font of the system that has
    all its characters. Where there is none, a character becomes its letter without accents or, as
    in U+8336, its number in Unicode, so that different names never look the same.

    Args:
        text: in any script.
        font_size: in pixels.

    Returns:
        The font, and the text to write with it.
    """
    own = ImageFont.load_default(font_size)
    if text.isascii():
        return own, text
    characters = frozenset(text)
    if _covers(own, characters):
        return own, text
    for name in _SYSTEM_FONTS:
        font = _system_font(name, font_size)
        if font is not None and _covers(font, characters):
            return font, text
    return own, "".join(_spelled(character, own) for character in text)


@functools.lru_cache(maxsize=256)
def _system_font(name: str, font_size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, font_size)
    except OSError:
        return None


def _covers(font: Font, characters: frozenset[str]) -> bool:
    return all(map(functools.partial(_has_glyph, font), characters))


def _has_glyph(font: Font, character: str) -> bool:
    if character.isspace():
        return True
    if not isinstance(font, ImageFont.FreeTypeFont):
        return character.isascii()
    drawn, missing = font.getmask(character), font.getmask(_NEVER_A_GLYPH)
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def _spelled(character: str, font: Font) -> str:
    if _has_glyph(font, character):
        return character
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return plain or f"U+{ord(character):04X} "
