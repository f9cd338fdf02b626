"""What a live line says, fitted into the width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 2
_NARROWEST_BAR = 10
_WIDEST_BAR = 30


class Fact(NamedTuple):
    """A piece of a line.

    Attributes:
        text: what it says.
        rank: where the terminal is too narrow, the facts of the highest rank are left out first
            and those of rank 0 never.
        style: a style of rich, such as ``"cyan"``; empty for plain text.
    """

    text: str
    rank: int = 0
    style: str = ""


class LineContent(NamedTuple):
    """A line at one moment.

    Attributes:
        label: what is going on, at the very left.
        fraction: how much of it is done, in 0..1, drawn as a bar; None draws no bar.
        facts: what follows, in this order.
    """

    label: str
    fraction: float | None
    facts: Sequence[Fact]


def lay_out(content: LineContent, width: int) -> Table:
    """A line of at most ``width`` columns; needs rich."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    facts, bar_width = _fitted(content, width)
    line = Table.grid(padding=(0, _GAP, 0, 0))
    cells: list[Text | ProgressBar] = [Text(content.label, style="bold")]
    if content.fraction is not None and bar_width:
        completed = min(max(content.fraction, 0.0), 1.0)
        cells.append(ProgressBar(total=1.0, completed=completed, width=bar_width))
    cells += [Text(fact.text, style=fact.style) for fact in facts]
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


def _fitted(content: LineContent, width: int) -> tuple[list[Fact], int]:
    """The facts that there is room for, and the width of the bar, 0 for none."""
    from rich.cells import cell_len

    facts = list(content.facts)

    def room() -> int:
        return width - cell_len(content.label) - sum(_GAP + cell_len(f.text) for f in facts) - _GAP

    # The bar makes room before any fact does: the facts say how far it is as well.
    while room() < -_GAP and any(fact.rank for fact in facts):
        least = max(range(len(facts)), key=lambda index: (facts[index].rank, index))
        del facts[least]
    bar_width = min(room(), _WIDEST_BAR) if content.fraction is not None else 0
    return facts, bar_width if bar_width >= _NARROWEST_BAR else 0
