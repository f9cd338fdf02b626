"""Panoptic quality from files in COCO's panoptic format: a JSON file and a PNG for each image."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from d2_data.formats import decode_panoptic_png, read_json
from d2_eval.panoptic_quality import PanopticQuality

Png = str | os.PathLike[str] | bytes

Prediction = tuple[Png, Sequence[Mapping[str, Any]]]
"""A PNG, as a path or its content, and the segments in it."""

_ANNOTATIONS = ("images", "annotations", "categories")


def evaluate_panoptic_files(
    predictions: str | os.PathLike[str],
    ground_truth: str | os.PathLike[str],
    *,
    predictions_folder: str | os.PathLike[str] | None = None,
    ground_truth_folder: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, float]]:
    """Compare predictions in COCO's panoptic format with annotations in it.

    Args:
        predictions: a JSON file whose ``annotations`` have ``image_id``, ``file_name`` and
            ``segments_info``.
        ground_truth: the annotations' JSON file.
        predictions_folder: of the predictions' PNGs; by default the folder that is called as the
            JSON file without suffix, or else the one that the file is in.
        ground_truth_folder: of the annotations' PNGs, found likewise.

    Returns:
        ``panoptic_seg`` with ``PQ``, ``SQ``, ``RQ`` and the same of things (``PQ_th`` …) and of
        stuff (``PQ_st`` …), in percent; NaN where there is none.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is not what it should be, an annotated image has no prediction, or
            see :meth:`~d2_eval.PanopticQuality.add`.
    """
    truth = read_panoptic_annotations(ground_truth)
    root = _png_folder(Path(ground_truth), ground_truth_folder)
    _check_pngs(truth["annotations"], root, ground_truth)
    annotated = {annotation["image_id"] for annotation in truth["annotations"]}
    found = _entries(read_json(Path(predictions), expected_keys=("annotations",)), predictions)
    folder = _png_folder(Path(predictions), predictions_folder)
    by_image: dict[Any, Prediction] = {}
    for number, entry in enumerate(found):
        where, image = f"{os.fspath(predictions)!r}: annotation {number}", entry["image_id"]
        if image in by_image:
            raise ValueError(f"{where} is a second one of image {image!r}; keep one for each image")
        if image not in annotated:
            raise ValueError(
                f"{where} is of image {image!r}, which {os.fspath(ground_truth)!r} does not "
                f"annotate (it annotates {len(annotated)} images); predictions and annotations "
                "are of different datasets, or ids are the model's own"
            )
        by_image[image] = folder / entry["file_name"], entry["segments_info"]
    _check_pngs(found, folder, predictions)
    try:
        return {"panoptic_seg": panoptic_scores(truth, root, by_image)}
    except ValueError as error:
        error.add_note(f"the predictions are those of {os.fspath(predictions)!r}")
        raise


def read_panoptic_annotations(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an annotation file in COCO's panoptic format.

    Raises:
        FileNotFoundError: if there is no such file.
        KeyError, ValueError: if it is not what it should be; the message names the entry.
    """
    content: dict[str, Any] = read_json(Path(path), expected_keys=_ANNOTATIONS)
    for number, category in enumerate(content["categories"]):
        for key in ("id", "isthing"):
            if not isinstance(category, dict) or key not in category:
                raise ValueError(
                    f"{os.fspath(path)!r}: category {number} has no {key!r}; it is "
                    f"{category!r:.200}. Add it: isthing is 1 for things and 0 for stuff"
                )
    declared = {category["id"] for category in content["categories"]}
    for number, entry in enumerate(_entries(content, path)):
        for segment in entry["segments_info"]:
            if segment["category_id"] not in declared:
                raise ValueError(
                    f"{os.fspath(path)!r}: annotation {number}, of image {entry['image_id']!r}, "
                    f"has a segment {segment['id']!r} of the category {segment['category_id']!r}, "
                    "which 'categories' do not declare; add the category or correct the segment"
                )
    return content


def panoptic_scores(
    truth: Mapping[str, Any],
    truth_folder: str | os.PathLike[str],
    predictions: Mapping[Any, Prediction],
) -> dict[str, float]:
    """Return panoptic, segmentation and recognition quality in percent.

    Args:
        truth: the content of a panoptic annotation file.
        truth_folder: of its PNGs.
        predictions: of each image id.

    Raises:
        FileNotFoundError: if a PNG is missing.
        ValueError: if an annotated image has no prediction, or see
            :meth:`~d2_eval.PanopticQuality.add`.
    """
    annotations = truth["annotations"]
    missing = [a["image_id"] for a in annotations if a["image_id"] not in predictions]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(annotations)} annotated images have no prediction, e.g. "
            f"{missing[:3]}; panoptic quality is of the whole dataset: predict these, too"
        )
    quality = PanopticQuality([category["id"] for category in truth["categories"]])
    pairs = (
        (Path(truth_folder) / annotation["file_name"], predictions[annotation["image_id"]][0])
        for annotation in annotations
    )
    for annotation, (truth_ids, found_ids) in zip(annotations, _decoded(pairs), strict=True):
        quality.add(
            truth_ids,
            annotation["segments_info"],
            found_ids,
            predictions[annotation["image_id"]][1],
            f"image {annotation['image_id']!r}",
        )
    things = [category["id"] for category in truth["categories"] if category["isthing"]]
    stuff = [category["id"] for category in truth["categories"] if not category["isthing"]]
    scores = {}
    for suffix, chosen in (("", None), ("_th", things), ("_st", stuff)):
        for name, value in zip(("PQ", "SQ", "RQ"), quality.average(chosen), strict=True):
            scores[name + suffix] = 100 * value
    return scores


def _decoded(pairs: Iterable[tuple[Path, Png]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both maps of each image, in order; a few images are decoded ahead, on all cores."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        ahead: deque[tuple[Future[np.ndarray], Future[np.ndarray]]] = deque()
        for truth, found in pairs:
            ahead.append(
                (pool.submit(decode_panoptic_png, truth), pool.submit(decode_panoptic_png, found))
            )
            if len(ahead) > cores:
                first, second = ahead.popleft()
                yield first.result(), second.result()
        for first, second in ahead:
            yield first.result(), second.result()


def _png_folder(json_file: Path, given: str | os.PathLike[str] | None) -> Path:
    if given is not None:
        return Path(given)
    beside = json_file.with_suffix("")
    return beside if beside.is_dir() else json_file.parent


def _entries(content: Mapping[str, Any], path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The annotations of a file, once each is known to be one."""
    wanted = (
        "wanted COCO's panoptic format, an entry for each image with image_id, file_name and "
        "segments_info"
    )
    entries: Any = content["annotations"]
    if not isinstance(entries, list):
        raise ValueError(f"{os.fspath(path)!r} has annotations {entries!r:.100}; {wanted}")
    for number, entry in enumerate(entries):
        for key in ("image_id", "file_name", "segments_info"):
            if not isinstance(entry, dict) or key not in entry:
                got = sorted(entry) if isinstance(entry, dict) else f"{entry!r:.100}"
                raise ValueError(
                    f"{os.fspath(path)!r}: annotation {number} has no {key!r}, it has {got}; "
                    f"{wanted}"
                )
        if not isinstance(entry["image_id"], int | str) or not isinstance(entry["file_name"], str):
            raise ValueError(
                f"{os.fspath(path)!r}: annotation {number} has the image_id "
                f"{entry['image_id']!r:.100} and the file_name {entry['file_name']!r:.100}; "
                f"{wanted}"
            )
        where = f"{os.fspath(path)!r}: annotation {number}, of image {entry['image_id']!r},"
        _check_segments(entry["segments_info"], where)
    return entries


def _check_segments(segments: Any, where: str) -> None:
    """Refuse what are no segments, each with its id and its category's."""
    wanted = "wanted a list of objects with id and category_id, which are whole numbers"
    if not isinstance(segments, list):
        raise ValueError(f"{where} has the segments_info {segments!r:.100}; {wanted}")
    for segment in segments:
        keys = ("id", "category_id")
        if not isinstance(segment, dict) or any(type(segment.get(key)) is not int for key in keys):
            raise ValueError(f"{where} has the segment {segment!r:.200}; {wanted}")
    ids = [segment["id"] for segment in segments]
    if len({*ids}) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"{where} has two segments of the id {twice}; give each its own")


def _check_pngs(
    entries: Sequence[Mapping[str, Any]], folder: Path, path: str | os.PathLike[str]
) -> None:
    """Refuse names of files that are not there."""
    for number, entry in enumerate(entries):
        if not (folder / entry["file_name"]).is_file():
            raise FileNotFoundError(
                f"{os.fspath(path)!r}: annotation {number}, of image {entry['image_id']!r}, is in "
                f"the PNG {os.fspath(folder / entry['file_name'])!r}, which is not there; put it "
                "there, or correct its file_name"
            )
