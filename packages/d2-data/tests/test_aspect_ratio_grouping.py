import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.aspect_ratio_grouping import AspectRatioGroupedDataset

sizes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=40)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 5))
def test_batches_are_full_uniform_and_in_order(sizes, batch_size):
    records = [{"id": i, "width": w, "height": h} for i, (w, h) in enumerate(sizes)]
    batches = list(AspectRatioGroupedDataset(records, batch_size))
    for batch in batches:
        assert len(batch) == batch_size
        assert len({r["width"] > r["height"] for r in batch}) == 1
    for wide in (True, False):
        given_order = [r["id"] for r in records if (r["width"] > r["height"]) == wide]
        batched = [r["id"] for b in batches for r in b if (r["width"] > r["height"]) == wide]
        assert batched == given_order[: len(batched)]
        assert len(given_order) - len(batched) < batch_size


def test_batches_come_as_soon_as_they_are_full():
    endless = ({"width": 2, "height": 1, "id": i} for i in itertools.count())
    grouped = iter(AspectRatioGroupedDataset(endless, 2))
    assert [r["id"] for r in next(grouped)] == [0, 1]
    assert [r["id"] for r in next(grouped)] == [2, 3]


def test_elements_without_a_size_are_refused():
    with pytest.raises(KeyError, match=r"'width' and 'height', got \['image'\]; .*grouping=False"):
        list(AspectRatioGroupedDataset([{"image": 1}], 1))
