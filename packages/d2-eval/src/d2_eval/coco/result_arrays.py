"""Columns of predictions: joined, chosen, and which number an id stands for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from d2_eval.coco.settings import FIELDS, Task
from d2_ops.host import CocoResults, join_packed_rles, select_packed_rles

_logger = logging.getLogger(__name__)

_COLUMNS: Mapping[str, str] = {"bbox": "boxes", "segmentation": "masks", "keypoints": "keypoints"}


def results_count(results: CocoResults) -> int:
    """Return how many predictions there are."""
    return len(results.scores)


def column_of(results: CocoResults, task: Task) -> Any:
    """Return what of the predictions a task compares, or None."""
    return getattr(results, _COLUMNS[FIELDS[task]])


def ids_array(ids: Sequence[Any]) -> np.ndarray:
    """Return ids as int64, or as objects where one is no integer of 64 bits."""
    if all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in ids):
        try:
            return np.array(ids, np.int64)
        except OverflowError:
            pass
    objects = np.empty(len(ids), object)
    objects[:] = ids
    return objects


def places_of(ids: np.ndarray, known: Mapping[Any, int]) -> np.ndarray:
    """Return the number that each id stands for.

    Args:
        ids: (N,) of :func:`ids_array`.
        known: ids with their numbers.

    Returns:
        (N,) int64; −1 for an id that is not known.
    """
    if ids.dtype == object:
        return np.array([_place(one, known) for one in ids], np.int64)
    numbers = {one: place for one, place in known.items() if isinstance(one, int | np.integer)}
    if not numbers:
        return np.full(len(ids), -1, np.int64)
    keys, places = np.array([*numbers], np.int64), np.array([*numbers.values()], np.int64)
    least, most = int(keys.min()), int(keys.max())
    if most - least <= 4 * (len(keys) + len(ids)):  # a table takes no more than the ids themselves
        table = np.full(most - least + 1, -1)
        table[keys - least] = places
        inside = (ids >= least) & (ids <= most)
        return np.where(inside, table[np.where(inside, ids - least, 0)], -1)
    order = np.argsort(keys)
    nearest = order[np.searchsorted(keys[order[:-1]], ids)]
    return np.where(keys[nearest] == ids, places[nearest], -1)


def known_numbers(ids: Collection[Any]) -> dict[Any, int]:
    """Return ids with their numbers, from 0."""
    return {one: number for number, one in enumerate(ids)}


def chosen_results(results: CocoResults, rows: np.ndarray) -> CocoResults:
    """Return some of the predictions.

    Args:
        results: N predictions.
        rows: (N,) bool.
    """
    if rows.all():
        return results
    columns: dict[str, Any] = {
        name: None if value is None else value[rows]
        for name, value in results._asdict().items()
        if name != "masks"
    }
    masks = None if results.masks is None else select_packed_rles(results.masks, rows)
    return CocoResults(**columns, masks=masks)


def joined_results(parts: Sequence[CocoResults]) -> CocoResults:
    """Return the predictions of several images as one, with the fields that all have.

    Args:
        parts: those of one image each.
    """
    filled = [part for part in parts if results_count(part)]
    if not filled:
        nothing = np.empty(0, np.int64)
        return CocoResults(nothing, nothing, np.empty(0))
    columns: dict[str, Any] = {}
    for name in CocoResults._fields:
        present = [getattr(part, name) for part in filled]
        lacking = [place for place, value in enumerate(present) if value is None]
        if len(lacking) == len(filled):
            continue
        if lacking:
            _logger.warning(
                "The predictions of %d of %d images have no %s: those of the others are left out",
                len(lacking),
                len(filled),
                name,
            )
            continue
        columns[name] = join_packed_rles(present) if name == "masks" else np.concatenate(present)
    return CocoResults(**columns)


def _place(identity: Any, known: Mapping[Any, int]) -> int:
    try:
        return known.get(identity, -1)
    except TypeError:  # a list or a dict is no id
        return -1
