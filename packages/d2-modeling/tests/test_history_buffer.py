"""Histories of scalars: what is counted, kept and restored."""

from hypothesis import given
from hypothesis import strategies as st

from d2_modeling.history_buffer import HistoryBuffer


def recorded(values: list[float]) -> HistoryBuffer:
    buffer = HistoryBuffer()
    for value in values:
        buffer.update(value)
    return buffer


@given(st.lists(st.integers(-5, 5), max_size=12), st.integers(-3, 15))
def test_values_behind_an_iteration_are_counted(values: list[int], iteration: int) -> None:
    buffer = recorded([float(value) for value in values])
    assert buffer.count_since(iteration) == sum(k > iteration for k in range(len(values)))
    wanted = list(zip(map(float, values), range(len(values)), strict=True))
    count = max(iteration, 0)
    assert buffer.newest(count) == wanted[len(values) - min(count, len(values)) :]
    assert buffer.sums() == (len(values), sum(values))


def test_values_may_be_recorded_at_iterations_of_ones_own() -> None:
    buffer = HistoryBuffer()
    for iteration in (3, 7, 7.5):
        buffer.update(iteration * 2, iteration)
    assert buffer.values() == [(6, 3), (14, 7), (15, 7.5)]
    assert (buffer.count_since(3), buffer.count_since(7)) == (2, 1)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(1, 12))
def test_a_restored_buffer_goes_on_like_the_one_before(values: list[int], kept: int) -> None:
    buffer = recorded([float(value) for value in values])
    restored = HistoryBuffer()
    restored.update(99.0)
    restored.restore(buffer.newest(kept), *buffer.sums())
    for one in (buffer, restored):
        one.update(4.0)
    assert restored.global_avg() == buffer.global_avg()
    assert restored.values() == buffer.values()[-len(restored.values()) :]
    assert restored.values()[-1] == (4.0, len(values))


def test_a_summary_of_an_even_window_is_between_its_middle_values() -> None:
    buffer = recorded([9.0, 1.0, 2.0, 4.0, 8.0])
    assert buffer.median(4) == 3.0
    assert buffer.avg(2) == 6.0
    assert buffer.latest() == 8.0
