"""Metrics of semantic segmentation from folders of label images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2_data.formats import read_json, read_label_map
from d2_eval.semantic_counts import SemanticCounts
from d2_ops.host import rle_decode

_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})


def evaluate_semantic_files(
    predictions: str | os.PathLike[str],
    ground_truth: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    ignore_label: int | None = 255,
    boundary_iou: bool = False,
    dataset_ids: Mapping[int, int] | None = None,
) -> dict[str, dict[str, float]]:
    """Compare predicted label images with annotated ones.

    Args:
        predictions: a folder with an image for each annotated one, under the same name; or a
            ``sem_seg_predictions.json`` that :class:`~d2_eval.SemSegEvaluator` has written.
        ground_truth: a folder of label images; those in folders below count, too.
        class_names: of labels 0, 1, …; None numbers the labels up to the highest annotated one.
        ignore_label: annotated pixels of this label do not count; None counts all.
        boundary_iou: also compare the outlines of classes.
        dataset_ids: for a JSON file, the class of each ``category_id``
            (``stuff_dataset_id_to_contiguous_id`` of the metadata); None takes them for classes.

    Returns:
        ``sem_seg`` with the scores of :meth:`~d2_eval.semantic_counts.SemanticCounts.scores`.

    Raises:
        FileNotFoundError: if a folder or a file does not exist, or an annotated image has no
            prediction.
        OSError, ValueError: if an image cannot be read or has a label that is no class, sizes
            differ, or a JSON file is not what it should be.
    """
    truths = _label_images(Path(ground_truth), "annotations")
    if Path(predictions).is_dir():
        found: _Predictions = _Images(_label_images(Path(predictions), "predictions"))
    else:
        found = _Segments(Path(predictions), dataset_ids)
    if class_names is None:
        class_names = [str(label) for label in range(_highest(truths, ignore_label) + 1)]
    counts = SemanticCounts(len(class_names), ignore_label, boundary=boundary_iou)
    missing = [name for name in truths if name not in found]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(truths)} label images in {os.fspath(ground_truth)!r} have no "
            f"prediction in {os.fspath(predictions)!r}, e.g. {missing[:3]}; predictions have the "
            "names of the annotations"
        )
    for name, file in truths.items():
        truth = read_label_map(file)
        try:
            counts.add(found.read(name, truth.shape), truth)
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(file)!r} does not fit its prediction in {os.fspath(predictions)!r} "
                f"and the {len(class_names)} classes: {error}"
            ) from error
    return {"sem_seg": counts.scores(class_names)}


class _Images:
    """Predictions as label images."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return read_label_map(self._files[name])


class _Segments:
    """Predictions as run lengths of each class, by the names of pictures."""

    def __init__(self, file: Path, dataset_ids: Mapping[int, int] | None) -> None:
        entries = read_json(file)
        wanted = "wanted a list of objects with file_name, category_id and segmentation"
        if not isinstance(entries, list):
            raise ValueError(f"{str(file)!r} holds a {type(entries).__name__}; {wanted}")
        self._entries: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for number, entry in enumerate(entries):
            keys = {"file_name", "category_id", "segmentation"}
            if not isinstance(entry, dict) or not keys <= entry.keys():
                raise ValueError(f"entry {number} of {str(file)!r} is {entry!r:.100}; {wanted}")
            label = entry["category_id"]
            if dataset_ids is not None:
                if label not in dataset_ids:
                    raise ValueError(
                        f"entry {number} of {str(file)!r} has category_id {label!r}, which "
                        f"dataset_ids lacks; it has {list(dataset_ids)[:12]}"
                    )
                label = dataset_ids[label]
            parts = self._entries.setdefault(Path(entry["file_name"]).stem, [])
            parts.append((label, entry["segmentation"]))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and Path(name).name in self._entries

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        labels = np.full(shape, -1, np.int64)
        for label, rle in self._entries[Path(name).name]:
            mask = rle_decode(rle)
            if mask.shape != shape:
                raise ValueError(f"a predicted mask has the shape {mask.shape}, wanted {shape}")
            labels[mask.astype(bool)] = label
        return labels


_Predictions = _Images | _Segments


def _label_images(folder: Path, kind: str) -> dict[str, Path]:
    """Files by their names below the folder, without suffix."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of {kind} {str(folder)!r}")
    files = {
        str(path.relative_to(folder).with_suffix("")): path
        for path in _walk(folder)
        if path.suffix.lower() in _SUFFIXES
    }
    if not files:
        raise FileNotFoundError(
            f"the folder of {kind} {str(folder)!r} has no label image; wanted {sorted(_SUFFIXES)}"
        )
    return files


def _walk(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _highest(files: Mapping[str, Path], ignore_label: int | None) -> int:
    highest = 0
    for file in files.values():
        labels = np.unique(read_label_map(file))
        counted = labels[labels != ignore_label] if ignore_label is not None else labels
        highest = max(highest, int(counted.max(initial=0)))
    return highest
