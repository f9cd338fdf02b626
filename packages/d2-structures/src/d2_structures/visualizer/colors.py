"""Colour arguments: from the many ways to write a colour to red, green, blue and opacity."""

import difflib
import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageColor

__all__ = [
    "Color",
    "ColorLike",
    "color_from_bytes",
    "contrasting_text_color",
    "jittered",
    "lightened",
    "parse_color",
    "shaded",
]

ColorLike = Any
"""Anything :func:`parse_color` accepts."""

_LETTERS = {
    "b": (0.0, 0.0, 1.0),
    "g": (0.0, 0.5, 0.0),
    "r": (1.0, 0.0, 0.0),
    "c": (0.0, 0.75, 0.75),
    "m": (0.75, 0.0, 0.75),
    "y": (0.75, 0.75, 0.0),
    "k": (0.0, 0.0, 0.0),
    "w": (1.0, 1.0, 1.0),
}
_CYCLE = {
    "tab:blue": "#1f77b4",
    "tab:orange": "#ff7f0e",
    "tab:green": "#2ca02c",
    "tab:red": "#d62728",
    "tab:purple": "#9467bd",
    "tab:brown": "#8c564b",
    "tab:pink": "#e377c2",
    "tab:gray": "#7f7f7f",
    "tab:olive": "#bcbd22",
    "tab:cyan": "#17becf",
}
_FORMATS = (
    "an RGB or RGBA sequence of floats in 0..1, (color, opacity), '#rgb[a]', '#rrggbb[aa]', "
    "a grey level such as '0.75', a letter of 'bgrcmykw', 'C0'..'C9', 'tab:blue', a CSS name "
    "or 'none'"
)


class Color(NamedTuple):
    """A parsed colour; every part is a float in 0..1."""

    red: float
    green: float
    blue: float
    opacity: float = 1.0

    def to_bytes(self) -> tuple[int, int, int]:
        """Red, green, blue in 0..255."""
        return round(self.red * 255), round(self.green * 255), round(self.blue * 255)


def parse_color(color: ColorLike) -> Color:
    """Read a colour in any of the formats that matplotlib users write.

    Args:
        color: an RGB or RGBA sequence of floats in 0..1, a pair (color, opacity), ``"#rgb"``,
            ``"#rgba"``, ``"#rrggbb"``, ``"#rrggbbaa"``, a grey level ``"0.75"``, one of the letters
            ``"bgrcmykw"``, ``"C0"``.. (cycle of ten), ``"tab:blue"``.., a CSS colour name in any
            case, or ``"none"`` (invisible).

    Raises:
        ValueError: if the value is none of these; close names are offered.
    """
    if isinstance(color, Color):
        return color
    if isinstance(color, str):
        return _parse_text(color.strip().lower(), color)
    try:
        parts = list(color)
    except TypeError:
        raise ValueError(f"got colour {color!r}, wanted {_FORMATS}") from None
    if len(parts) == 2 and not isinstance(parts[0], (int, float)):
        return parse_color(parts[0])._replace(opacity=_unit_floats(parts[1:], color)[0])
    if len(parts) not in (3, 4):
        raise ValueError(f"got colour {color!r} of {len(parts)} parts, wanted {_FORMATS}")
    return Color(*_unit_floats(parts, color))


def _unit_floats(parts: Sequence[Any], color: ColorLike) -> list[float]:
    try:
        values = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise ValueError(f"got colour {color!r}, wanted {_FORMATS}") from None
    if not all(0.0 <= value <= 1.0 for value in values):
        hint = "; divide byte values by 255" if max(values) > 1 else ""
        raise ValueError(f"got colour {color!r}, wanted parts between 0 and 1{hint}")
    return values


def _parse_text(name: str, original: str) -> Color:
    if name in _LETTERS:
        return Color(*_LETTERS[name])
    if name == "none":
        return Color(0.0, 0.0, 0.0, 0.0)
    name = name.replace("grey", "gray")
    if re.fullmatch(r"c\d+", name):
        name = list(_CYCLE)[int(name[1:]) % len(_CYCLE)]
    name = _CYCLE.get(name, name)
    if name in ImageColor.colormap or re.fullmatch(r"#([0-9a-f]{3,4}|([0-9a-f]{2}){3,4})", name):
        return Color(*(value / 255 for value in ImageColor.getrgb(name)))
    try:
        grey = float(name)
    except ValueError:
        names = [*ImageColor.colormap, *_CYCLE]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"wanted {_FORMATS}"
        raise ValueError(f"unknown colour {original!r}; {hint}") from None
    return Color(*_unit_floats([grey] * 3, original))


def color_from_bytes(rgb: Sequence[float] | np.ndarray) -> Color:
    """The colour of a (red, green, blue) triple in 0..255, the form metadata holds."""
    values = np.asarray(rgb, dtype=np.float64)
    if values.shape != (3,) or not ((values >= 0) & (values <= 255)).all():
        raise ValueError(f"got metadata colour {rgb!r}, wanted (r, g, b) with values in 0..255")
    red, green, blue = (values / 255).tolist()
    return Color(red, green, blue)


def shaded(color: Color, amount: float) -> Color:
    """Mix with black (``amount`` in -1..0) or with white (0..1), in proportion to ``amount``."""
    target = 1.0 if amount > 0 else 0.0
    red, green, blue = (value + (target - value) * abs(amount) for value in color[:3])
    return Color(red, green, blue, color.opacity)


def jittered(color: Color, index: int, spread: float = 0.09) -> Color:
    """A near neighbour of ``color``, another one for each ``index``; index 0 gives ``color``."""
    turns = np.array([0.754878, 0.569840, 0.430160])  # R3 low-discrepancy sequence
    offsets = ((index * turns + 0.5) % 1.0 - 0.5) * 2 * spread
    red, green, blue = np.clip(np.add(color[:3], offsets), 0.0, 1.0).tolist()
    return Color(red, green, blue, color.opacity)


def lightened(color: Color, luma: float = 0.5) -> Color:
    """The colour mixed with as little white as it takes to reach a brightness in 0..1."""
    present = float(np.dot(color[:3], (0.299, 0.587, 0.114)))
    return shaded(color, (luma - present) / (1 - present)) if present < luma else color


@functools.lru_cache(maxsize=1024)
def contrasting_text_color(background: Color) -> Color:
    """Near-black or white, whichever reads better on ``background``."""
    linear = np.power(background[:3], 2.2)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return Color(0.06, 0.06, 0.08) if luminance > 0.3 else Color(1.0, 1.0, 1.0)
