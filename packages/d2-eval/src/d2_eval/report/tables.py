"""Results as plain-text tables that are also valid Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d2_eval.coco_metrics import CocoCurves


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table; numbers are aligned to the right and floats get two decimals.

    Args:
        header: titles of the columns.
        rows: each as long as ``header``.

    Raises:
        ValueError: if a row has another length.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells, the header has {len(header)}: {row}")
    cells = [[_cell(value) for value in row] for row in rows]
    right = [
        any(isinstance(row[i], int | float) for row in rows)
        and all(isinstance(row[i], int | float) or row[i] == "" for row in rows)
        for i in range(len(header))
    ]
    widths = [max(3, len(title), *(len(row[i]) for row in cells)) for i, title in enumerate(header)]
    rule = [
        "-" * (width - 1) + ":" if is_right else "-" * width
        for width, is_right in zip(widths, right, strict=True)
    ]
    lines = [
        " | ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        )
        for row in (list(header), rule, *cells)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def per_class_table(scores: Mapping[str, float], columns: int = 3) -> str:
    """A table of class names and AP, several classes beside each other.

    Args:
        scores: class name to AP in percent, as of :meth:`CocoCurves.per_class`.
        columns: how many classes stand in one row.
    """
    columns = max(1, min(columns, len(scores)))
    entries = [cell for item in scores.items() for cell in item]
    entries += [""] * (-len(entries) % (2 * columns))
    rows = [entries[i : i + 2 * columns] for i in range(0, len(entries), 2 * columns)]
    return format_table(["category", "AP"] * columns, rows)


def results_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """A table of tasks and their main metrics; per-class scores (``AP-name``) are left out.

    Args:
        results: what an evaluator returned.
    """
    metrics = list(dict.fromkeys(m for scores in results.values() for m in scores if "-" not in m))
    rows = [[task, *(scores.get(m, "") for m in metrics)] for task, scores in results.items()]
    return format_table(["task", *metrics], rows)


def class_table(curves: CocoCurves) -> str:
    """A table of one task with AP, AP50, AP75 for each class and for all."""
    rows: list[list[object]] = [
        [
            name,
            curves.average_precision(class_name=name),
            curves.average_precision(iou=0.5, class_name=name),
            curves.average_precision(iou=0.75, class_name=name),
        ]
        for name in curves.class_names
    ]
    metrics = curves.metrics()
    rows.append(["all", metrics["AP"], metrics["AP50"], metrics["AP75"]])
    return format_table(["category", "AP", "AP50", "AP75"], rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.2f}"
    return str(value)
