"""Precision over recall as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_eval.coco import CocoCurves
from d2_eval.report.figures import INK, curve_style, legend_outside, new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}
_MOST_CLASSES_DRAWN = 10


def precision_recall_plot(
    curves: CocoCurves | Mapping[str, CocoCurves],
    path: str | os.PathLike[str],
    *,
    iou_thresholds: Sequence[float] = (0.5, 0.75),
) -> Path:
    """Draw precision over recall of one or several tasks beside each other into a PNG.

    Thick lines are averages over the classes at each IoU threshold; thin lines are the single
    classes at the first threshold, drawn where there are at most ten. The legend stands beside
    the curves. Needs matplotlib.

    Args:
        curves: of one task, or as in ``COCOEvaluator.curves``.
        path: the file to write; folders are made.
        iou_thresholds: among those evaluated (0.5, 0.55, …, 0.95).

    Returns:
        The path.

    Raises:
        ImportError: without matplotlib; the message names the extra to install.
        ValueError: if there is no curve to draw or a threshold was not evaluated.
    """
    tasks = [curves] if isinstance(curves, CocoCurves) else list(curves.values())
    if not tasks:
        raise ValueError("there are no curves to draw; evaluate some predictions first")
    if not iou_thresholds:
        raise ValueError("iou_thresholds is empty; give at least one, e.g. (0.5,)")
    return save_figure(_draw(tasks, iou_thresholds), path)


def _draw(tasks: Sequence[CocoCurves], iou_thresholds: Sequence[float]) -> Figure:
    figure = new_figure(width=6.4 * len(tasks), height=4.2)
    for index, task in enumerate(tasks):
        axes = figure.add_subplot(1, len(tasks), index + 1)
        _draw_task(axes, task, iou_thresholds)
        tidy(axes)
        legend_outside(axes)
    return figure


def _draw_task(axes: Any, curves: CocoCurves, iou_thresholds: Sequence[float]) -> None:
    recall = curves.recall_thresholds
    measure = "OKS" if curves.task == "keypoints" else "IoU"
    styles = ("-", "--", ":", "-.")
    for index, iou in enumerate(iou_thresholds):
        label = f"{measure} {iou:g}   AP {curves.average_precision(iou=iou):.1f}"
        dashes = styles[index % len(styles)]
        axes.plot(
            recall, curves.curve(iou), dashes, color=INK, linewidth=2.2, label=label, zorder=3
        )
    first = iou_thresholds[0]
    if 1 < len(curves.class_names) <= _MOST_CLASSES_DRAWN:
        averages = {
            name: curves.average_precision(iou=first, class_name=name)
            for name in curves.class_names
        }
        known = [name for name in averages if not math.isnan(averages[name])]
        for name in sorted(known, key=lambda name: -averages[name]):
            style = curve_style(curves.class_names.index(name))
            label = f"{name}   {averages[name]:.1f}"
            axes.plot(recall, curves.curve(first, name), linewidth=1.2, label=label, **style)
    axes.set_title(
        f"{_TITLES[curves.task]}, AP {curves.average_precision():.1f}", loc="left", color=INK
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("recall", color=INK)
    axes.set_ylabel("precision", color=INK)
