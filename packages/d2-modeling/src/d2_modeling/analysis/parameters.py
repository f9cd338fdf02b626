"""How many parameters a model and its parts have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import nn


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """The number of parameters of a model and its parts.

    Returns:
        By name of a parameter or of a module; under ``""`` that of the whole model.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        for depth in range(len(parts) + 1):
            counts[".".join(parts[:depth])] += parameter.numel()
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """The numbers of `parameter_count` as a table in Markdown, parameters with their shapes.

    Args:
        model: any module.
        max_depth: how deep to go into modules.

    Returns:
        Lines without a final newline.
    """
    counts = parameter_count(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    rows = [("name", "#elements or shape"), ("model", _rounded(counts[""]))]
    for name in _in_order_of_modules(shapes):
        depth = name.count(".") + 1
        if depth <= max_depth:
            value = str(shapes[name]) if name in shapes else _rounded(counts[name])
            rows.append((" " * depth + name, value))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"| {left:<{widths[0]}} | {right:<{widths[1]}} |" for left, right in rows]
    lines.insert(1, "|:" + "-" * (widths[0] + 1) + "|:" + "-" * (widths[1] + 1) + "|")
    return "\n".join(lines)


def _in_order_of_modules(names: Mapping[str, Any]) -> list[str]:
    """The names and all of their prefixes, each prefix before what is inside."""
    ordered: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            ordered.setdefault(".".join(parts[:depth]))
    return list(ordered)


def _rounded(count: int) -> str:
    if count > 1e5:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.1f}K" if count > 1e2 else str(count)
