"""Lines of text with coloured swatches, as long as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from d2_eval.report.class_colors import Rgb
from d2_structures.visualizer import font_for

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

INK: Rgb = (37, 48, 59)
FAINT_INK: Rgb = (120, 130, 140)
LINE_HEIGHT = 21

_TEXT_SIZE = 15
_SWATCH = 11
_SWATCH_WIDTH = 16
_GAP = 14


class Entry(NamedTuple):
    """A piece of text, behind a swatch where it has a colour."""

    text: str
    color: Rgb | None = None


def lines_needed(entries: Sequence[Entry], width: int, most: int) -> int:
    """How many lines of a width the entries fill, of at most ``most``."""
    return len(_flow(entries, width, most))


def draw_entries(
    draw: ImageDraw, corner: tuple[int, int], entries: Sequence[Entry], *, width: int, lines: int
) -> None:
    """Write entries one after another.

    Args:
        draw: of the picture.
        corner: (x, y) of the upper left corner.
        entries: where they do not fit, the number of those left out is written instead.
        width: of the lines, in pixels.
        lines: how many there are, each of ``LINE_HEIGHT`` pixels.
    """
    for number, line in enumerate(_flow(entries, width, lines)):
        x, y = corner[0], corner[1] + number * LINE_HEIGHT
        for entry in line:
            left = x
            if entry.color is not None:
                top = y + (LINE_HEIGHT - _SWATCH) // 2 - 1
                box = (x, top, x + _SWATCH - 1, top + _SWATCH - 1)
                draw.rounded_rectangle(box, radius=3, fill=entry.color)
                left += _SWATCH_WIDTH
            font, text = font_for(_shortened(entry.text, corner[0] + width - left), _TEXT_SIZE)
            draw.text((left, y), text, fill=FAINT_INK if entry.color is None else INK, font=font)
            x += _length(entry)


def _flow(entries: Sequence[Entry], width: int, lines: int) -> list[list[Entry]]:
    """The entries in lines; of the last line as many as leave room for the number of others."""
    flowed: list[list[Entry]] = []
    left = list(entries)
    while left and len(flowed) < lines:
        line: list[Entry] = []
        used = 0
        while left and (not line or used + _length(left[0]) - _GAP <= width):
            used += _length(left[0])
            line.append(left.pop(0))
        flowed.append(line)
    if left:
        last = flowed[-1]
        rest = Entry(f"+{len(left)}")
        while len(last) > 1 and sum(_length(e) for e in [*last, rest]) - _GAP > width:
            last.pop()
            rest = Entry(f"+{int(rest.text) + 1}")
        if len(last) == 1:
            room = width - _length(rest) - (_SWATCH_WIDTH if last[0].color else 0)
            last[0] = last[0]._replace(text=_shortened(last[0].text, room))
        last.append(rest)
    return flowed


def _length(entry: Entry) -> int:
    swatch = 0 if entry.color is None else _SWATCH_WIDTH
    return round(swatch + _width(entry.text)) + _GAP


def _shortened(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits, with dots behind it."""
    if _width(text) <= width:
        return text
    while text and _width(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _width(text: str) -> float:
    font, written = font_for(text, _TEXT_SIZE)
    return font.getlength(written)
