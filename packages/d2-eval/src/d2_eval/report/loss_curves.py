"""How a training went, as a picture: losses, metrics and learning rate over iterations."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_eval.report.figures import INK, curve_style, legend_outside, new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = dict[int, float]

_MAIN_METRICS = ("AP", "PQ", "mIoU")
_MOST_OTHER_METRICS = 3
_MOST_POINTS_MARKED = 40
_RANGE_OF_LINEAR_SCALE = 30
_PANEL_HEIGHTS = {"losses": 3.6, "metrics": 2.4, "lr": 1.3}


def loss_curves(metrics_json: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Draw what a training run wrote into its ``metrics.json`` into a PNG. Needs matplotlib.

    From top to bottom: every scalar with ``loss`` in its name, on a logarithmic scale where values
    differ much; the main metrics of each task that was evaluated (``AP``, ``PQ``, ``mIoU``, or what
    it has instead); the learning rate ``lr``.

    Lines that are broken, as the last one of a run that was killed, and values that are no finite
    numbers are left out. Of an iteration that occurs twice the later line counts.

    Args:
        metrics_json: one JSON object a line, with ``iteration`` and scalars.
        path: the file to write; folders are made.

    Returns:
        ``path``.

    Raises:
        ImportError: without matplotlib; the message names the extra to install.
        FileNotFoundError: if there is no ``metrics_json``.
        ValueError: if it holds no loss.
    """
    curves = _read_curves(metrics_json)
    if not any(_is_loss(name) for name in curves):
        raise ValueError(
            f"{os.fspath(metrics_json)} holds no losses to draw; it is to be the file that "
            "a training run writes, one JSON object a line"
        )
    return save_figure(_draw(curves), path)


def _read_curves(metrics_json: str | os.PathLike[str]) -> dict[str, Curve]:
    """Finite values by name and iteration."""
    curves: dict[str, Curve] = {}
    for record in _records(metrics_json):
        for name, value in record.items():
            if name != "iteration" and _is_number(value):
                curves.setdefault(name, {})[int(record["iteration"])] = float(value)
    return {name: dict(sorted(curve.items())) for name, curve in curves.items()}


def _records(metrics_json: str | os.PathLike[str]) -> Iterator[Mapping[str, Any]]:
    with Path(metrics_json).open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and _is_number(record.get("iteration")):
                yield record


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_loss(name: str) -> bool:
    return "loss" in name.lower()


def _draw(curves: Mapping[str, Curve]) -> Figure:
    losses = {name: curve for name, curve in curves.items() if _is_loss(name)}
    panels = {"losses": losses, "metrics": _metrics(curves), "lr": {"lr": curves.get("lr", {})}}
    panels = {name: content for name, content in panels.items() if any(content.values())}
    heights = [_PANEL_HEIGHTS[name] for name in panels]
    figure = new_figure(width=9.0, height=sum(heights) + 0.5)
    axes = figure.subplots(
        len(panels), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    draw = {"losses": _draw_losses, "metrics": _draw_metrics, "lr": _draw_learning_rate}
    for panel, (name, content) in zip(axes, panels.items(), strict=True):
        draw[name](panel, content)
        tidy(panel)
    axes[-1].set_xlabel("iteration", color=INK)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    iterations = {iteration for curve in losses.values() for iteration in curve}
    if len(iterations) == 1:
        axes[-1].set_xlim(min(iterations) - 1, min(iterations) + 1)
    figure.align_ylabels(axes)
    return figure


def _metrics(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The main metrics of each task; others where a task has none of them.

    Training reports scalars with a ``/`` in their name as well, but in every line.
    """
    lines = len({iteration for curve in curves.values() for iteration in curve})
    of_task: dict[str, list[str]] = {}
    for name, curve in curves.items():
        task, slash, metric = name.rpartition("/")
        is_main = metric in _MAIN_METRICS
        if slash and not _is_loss(name) and (is_main or 2 * len(curve) <= lines):
            of_task.setdefault(task, []).append(metric)
    chosen = {}
    for task, metrics in of_task.items():
        main = [metric for metric in metrics if metric in _MAIN_METRICS]
        for metric in main or metrics[:_MOST_OTHER_METRICS]:
            chosen[f"{task} {metric}".replace("/", " ")] = curves[f"{task}/{metric}"]
    return chosen


def _draw_losses(axes: Any, losses: Mapping[str, Curve]) -> None:
    """The total first and thick, then its parts from high to low, as they end."""
    if "total_loss" in losses:
        _plot(axes, losses["total_loss"], "total loss", color=INK, linewidth=2.4)
    styles = {name: curve_style(i) for i, name in enumerate(sorted(losses.keys() - {"total_loss"}))}
    for name in sorted(styles, key=lambda name: -list(losses[name].values())[-1]):
        label = name.removeprefix("loss_").replace("_", " ")
        _plot(axes, losses[name], label, linewidth=1.5, **styles[name])
    values = [value for curve in losses.values() for value in curve.values()]
    if min(values) > 0 and max(values) > _RANGE_OF_LINEAR_SCALE * min(values):
        axes.set_yscale("log")
        axes.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(bottom=min(0.0, *values))
    axes.set_ylabel("loss", color=INK)
    legend_outside(axes)


def _draw_metrics(axes: Any, metrics: Mapping[str, Curve]) -> None:
    for index, (name, curve) in enumerate(metrics.items()):
        _plot(axes, curve, name, marked=True, linewidth=1.8, **curve_style(index))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("metric", color=INK)
    legend_outside(axes)


def _draw_learning_rate(axes: Any, rates: Mapping[str, Curve]) -> None:
    _plot(axes, rates["lr"], None, color=INK, linewidth=1.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate", color=INK)
    axes.yaxis.set_major_formatter("{x:g}")


def _plot(
    axes: Any, curve: Curve, label: str | None, *, marked: bool = False, **style: Any
) -> None:
    """A curve; its last value stands behind its name in the legend."""
    iterations, values = list(curve), list(curve.values())
    if label is not None:
        label = f"{label}  {values[-1]:.3g}"
    is_marked = marked or len(curve) == 1
    marker = "o" if is_marked and len(curve) <= _MOST_POINTS_MARKED else None
    axes.plot(iterations, values, label=label, marker=marker, markersize=4, **style)
