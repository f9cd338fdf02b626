"""Any metric from files alone: predictions of whatever system, and annotations."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, Literal

from d2_eval.coco import evaluate_coco_files
from d2_eval.lvis import evaluate_lvis_files
from d2_eval.panoptic_files import evaluate_panoptic_files
from d2_eval.semantic_files import evaluate_semantic_files

Kind = Literal["coco", "lvis", "panoptic", "semantic"]

KINDS: tuple[Kind, ...] = ("coco", "lvis", "panoptic", "semantic")

_OPTIONS: dict[str, tuple[Kind, ...]] = {
    "tasks": ("coco", "lvis"),
    "kpt_oks_sigmas": ("coco",),
    "max_detections": ("coco", "lvis"),
    "fixed_ap": ("lvis",),
    "class_names": ("semantic",),
    "ignore_label": ("semantic",),
    "boundary_iou": ("semantic",),
}


def evaluate_files(
    predictions: str | os.PathLike[str],
    ground_truth: str | os.PathLike[str],
    kind: Kind | None = None,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Compare files of predictions with files of annotations.

    ============  ==========================================  ===================================
    kind          predictions                                 annotations
    ============  ==========================================  ===================================
    ``coco``      COCO's result format                        COCO's annotation format
    ``lvis``      COCO's result format                        LVIS' annotation format
    ``panoptic``  COCO's panoptic format, PNGs beside it      COCO's panoptic format likewise
    ``semantic``  folder of label images, or JSON             folder of label images
    ============  ==========================================  ===================================

    Args:
        predictions: a file or a folder.
        ground_truth: a file or a folder.
        kind: one of the above; None tells it from the annotations.
        **options: of the function that does it: :func:`~d2_eval.evaluate_coco_files`,
            :func:`~d2_eval.evaluate_lvis_files`, :func:`~d2_eval.evaluate_panoptic_files` or
            :func:`~d2_eval.evaluate_semantic_files`.

    Returns:
        ``{task: {metric: score}}``, in percent.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for another kind, if an option is not of this kind, a file is not what it
            should be, or predictions and annotations do not belong together.
    """
    if kind is None:
        kind = kind_of_annotations(ground_truth)
    elif kind not in KINDS:
        raise ValueError(f"kind is one of {list(KINDS)}, got {kind!r}")
    for option in options:
        if option in _OPTIONS and kind not in _OPTIONS[option]:
            raise ValueError(
                f"{option} is an option for {' and '.join(_OPTIONS[option])} annotations, but "
                f"{os.fspath(ground_truth)!r} is evaluated as {kind}"
            )
    if kind == "coco":
        return evaluate_coco_files(predictions, ground_truth, **options)
    if kind == "lvis":
        return evaluate_lvis_files(predictions, ground_truth, **options)
    if kind == "panoptic":
        return evaluate_panoptic_files(predictions, ground_truth, **options)
    return evaluate_semantic_files(predictions, ground_truth, **options)


def kind_of_annotations(path: str | os.PathLike[str]) -> Kind:
    """Tell what annotations are by what stands in the file.

    Args:
        path: a folder, of label images; or a JSON file.

    Raises:
        FileNotFoundError: if there is neither.
    """
    file = Path(path)
    if file.is_dir():
        return "semantic"
    if not file.is_file():
        raise FileNotFoundError(f"there is no annotation file {os.fspath(path)!r}")
    if file.stat().st_size == 0:
        return "coco"
    # Far sooner than to parse the file twice.
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if text.find(b'"segments_info"') >= 0:
            return "panoptic"
        if text.find(b'"neg_category_ids"') >= 0:
            return "lvis"
    return "coco"
