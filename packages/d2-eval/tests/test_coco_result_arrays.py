"""Predictions as columns: which number an id stands for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_eval.coco.result_arrays import ids_array, known_numbers, places_of

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(-5, 40), INT64), unique=True, max_size=30),
    st.lists(st.one_of(st.integers(-9, 50), INT64), max_size=60),
)
def test_places_are_those_of_a_dict(known: list[int], ids: list[int]) -> None:
    numbers = known_numbers(known)
    expected = [numbers.get(one, -1) for one in ids]
    assert places_of(np.array(ids, np.int64), numbers).tolist() == expected


@pytest.mark.parametrize("known", [range(3, 9), [-(2**63), 0, 2**63 - 1]], ids=["near", "far"])
def test_extreme_ids_are_found_or_unknown(known: list[int]) -> None:
    numbers = known_numbers(known)
    ids = [-(2**63), -1, 0, 3, 8, 9, 2**63 - 1]
    expected = [numbers.get(one, -1) for one in ids]
    assert places_of(ids_array(ids), numbers).tolist() == expected


def test_texts_are_found_among_numbers() -> None:
    ids = ids_array(["7", 7, [7], "x"])
    assert places_of(ids, known_numbers([7, "x"])).tolist() == [-1, 0, -1, 1]
