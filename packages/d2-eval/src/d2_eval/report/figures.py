"""What all plots have in common: a figure without a window, its look, and its file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_config.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#25303b"
FAINT = "#d9dee3"
COLORS = (
    "#2f6fb3",
    "#e8822a",
    "#3a9d5d",
    "#d64550",
    "#8a63c2",
    "#21a3a3",
    "#b59f1b",
    "#d66ba0",
    "#8c6d4f",
    "#7b8794",
)
"""Of the curves, in this order; from the eleventh on again from the first, dashed."""

_DOTS_PER_INCH = 120


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches.

    Raises:
        ImportError: without matplotlib; the message names the extra to install.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib; install it with: pip install 'd2-eval[plots]'"
        ) from error
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)  # draws in memory, whatever backend the program has chosen
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, whole or not at all; folders are made. Returns the path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    write_atomically(path, buffer.getvalue())
    return Path(path)


def curve_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the curve of a number, as arguments of ``Axes.plot``."""
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": "-" if index < len(COLORS) else "--",
    }


def tidy(axes: Any) -> None:
    """Leave of the frame what is needed to read values."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.grid(visible=True, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def legend_outside(axes: Any) -> None:
    """A legend to the right of the axes, where it covers no curve."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        labelcolor=INK,
    )
