"""Entries of COCO's result format are columns, and those entries again."""

from __future__ import annotations

from typing import Any

import pytest

from d2_eval.coco.result_entries import columns_of_entries, results_as_entries

MASK = {"size": [2, 3], "counts": "132"}

FIELDS: list[dict[str, Any]] = [
    {"bbox": [1.5, 2.0, 3.25, 4.0]},
    {"bbox": [1.5, 2.0, 3.25, 4.0, -30.0]},
    {"bbox": [0.0, 0.0, 3.0, 2.0], "segmentation": MASK},
    {"bbox": [0.0, 0.0, 3.0, 2.0], "keypoints": [1.0, 2.0, 0.5, 3.0, 4.0, 0.25]},
]


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: "-".join(fields))
@pytest.mark.parametrize("ids", [(1, 2), ("a", 2), (2**70, 1)], ids=["int", "text", "large"])
def test_columns_are_the_entries_they_were_made_of(
    fields: dict[str, Any], ids: tuple[Any, Any]
) -> None:
    entries = [
        {"image_id": one, "category_id": 3, "score": 0.5 + place / 4, **fields}
        for place, one in enumerate(ids)
    ]
    assert results_as_entries(columns_of_entries(entries)) == entries


def test_no_entries_are_no_columns() -> None:
    assert results_as_entries(columns_of_entries([])) == []
