"""Precision over recall as a picture."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_config.atomic_file import write_atomically
from d2_eval.coco_metrics import CocoCurves

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
    classes at the first threshold, drawn where there are at most ten. Needs matplotlib.

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
    figure = _new_figure(width=5.0 * len(tasks), height=4.6)
    for index, task in enumerate(tasks):
        axes = figure.add_subplot(1, len(tasks), index + 1)
        _draw_task(axes, task, iou_thresholds)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())
    return Path(path)


def _new_figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib; install it with: pip install 'd2-eval[plots]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # draws in memory, whatever backend the program has chosen
    return figure


def _draw_task(axes: Any, curves: CocoCurves, iou_thresholds: Sequence[float]) -> None:
    recall = curves.recall_thresholds
    first = iou_thresholds[0]
    if 1 < len(curves.class_names) <= _MOST_CLASSES_DRAWN:
        for name in curves.class_names:
            average = curves.average_precision(iou=first, class_name=name)
            if not math.isnan(average):
                label = f"{name} {average:.1f}"
                axes.plot(recall, curves.curve(first, name), linewidth=1, alpha=0.8, label=label)
    styles = ("-", "--", ":", "-.")
    measure = "OKS" if curves.task == "keypoints" else "IoU"
    for index, iou in enumerate(iou_thresholds):
        label = f"{measure} {iou:g}: AP {curves.average_precision(iou=iou):.1f}"
        style = styles[index % len(styles)]
        axes.plot(recall, curves.curve(iou), style, color="black", linewidth=2.2, label=label)
    axes.set(
        title=f"{_TITLES[curves.task]}, AP {curves.average_precision():.1f}",
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1),
        ylim=(0, 1.03),
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower left", fontsize="small")
