"""One HTML file of template, style, scripts, numbers and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

_SCRIPTS = ("dom.js", "charts.js", "figures.js", "confusions.js", "gallery.js", "start.js")


def assemble(figures: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """Put the page together.

    Args:
        figures: what the scripts draw.
        pictures: JPEG files as base64 text, in the order of ``figures["examples"]``.
    """
    parts = {
        "title": escape(str(figures["title"])),
        "style": _asset("style.css"),
        "library": re.sub(r"\n?//# sourceMappingURL=.*", "", _asset("chart.umd.min.js")),
        "figures": _embedded(figures),
        "pictures": _embedded(list(pictures)),
        "scripts": "\n".join(_asset(name) for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _embedded(value: Any) -> str:
    """JSON that no text in it can end the element early."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
