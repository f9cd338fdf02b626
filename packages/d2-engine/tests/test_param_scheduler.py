"""Schedules as functions of progress."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_engine.solver import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolynomialDecayParamScheduler,
    StepParamScheduler,
    StepWithFixedGammaParamScheduler,
)

progress = st.floats(0, 1)


@pytest.mark.parametrize(
    ("scheduler", "start", "end"),
    [
        (ConstantParamScheduler(0.3), 0.3, 0.3),
        (LinearParamScheduler(0.1, 0.5), 0.1, 0.5),
        (CosineParamScheduler(1.0, 0.2), 1.0, 0.2),
        (ExponentialParamScheduler(2.0, 0.01), 2.0, 0.02),
        (PolynomialDecayParamScheduler(0.1, 2), 0.1, 0.0),
        (StepParamScheduler(90, [1, 0.5, 0.1]), 1, 0.1),
        (StepWithFixedGammaParamScheduler(1.0, 2, 0.1, 90), 1.0, 0.01),
    ],
)
def test_schedules_begin_and_end_where_they_say(scheduler, start, end):
    assert scheduler(0.0) == pytest.approx(start)
    assert scheduler(1.0) == pytest.approx(end)


@given(where=progress, start=st.floats(0.01, 10), end=st.floats(0.01, 10))
@settings(max_examples=50, deadline=None)
def test_cosine_and_linear_stay_between_their_ends(where, start, end):
    low, high = min(start, end), max(start, end)
    for scheduler in (CosineParamScheduler(start, end), LinearParamScheduler(start, end)):
        assert low - 1e-9 <= scheduler(where) <= high + 1e-9


@given(
    num_updates=st.integers(10, 100_000),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_multistep_changes_exactly_at_its_milestones(num_updates, data):
    milestones = sorted(data.draw(st.sets(st.integers(1, num_updates - 1), min_size=1, max_size=4)))
    values = [10.0**-k for k in range(len(milestones) + 1)]
    scheduler = MultiStepParamScheduler(values, num_updates=num_updates, milestones=milestones)
    for index, milestone in enumerate(milestones):
        assert scheduler((milestone - 1) / num_updates) == values[index]
        assert scheduler(milestone / num_updates) == values[index + 1]


def test_multistep_takes_the_last_milestone_as_the_end_without_num_updates():
    scheduler = MultiStepParamScheduler([1, 0.1, 0.01], milestones=[60, 80, 90])
    assert [scheduler(i / 90) for i in (0, 59, 60, 79, 80, 89)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_multistep_spaces_milestones_equally_without_milestones():
    scheduler = MultiStepParamScheduler([1, 0.5, 0.25, 0.1], num_updates=8)
    assert [scheduler(i / 8) for i in range(8)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.1, 0.1]


def test_composite_rescales_or_passes_progress_through():
    line = LinearParamScheduler(0.0, 1.0)
    scheduler = CompositeParamScheduler([line, line], [0.5, 0.5], ["rescaled", "fixed"])
    assert scheduler(0.25) == pytest.approx(0.5)
    assert scheduler(0.75) == pytest.approx(0.75)
    squeezed = CompositeParamScheduler([line, line], [0.5, 0.5], ["rescaled", "rescaled"])
    assert squeezed(0.75) == pytest.approx(0.5)


def test_composite_with_an_empty_first_part_is_the_second():
    cosine = CosineParamScheduler(1, 0)
    scheduler = CompositeParamScheduler(
        [ConstantParamScheduler(5), cosine], [0.0, 1.0], ["rescaled", "fixed"]
    )
    assert all(math.isclose(scheduler(w), cosine(w)) for w in (0.0, 0.3, 1.0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MultiStepParamScheduler([1, 2]), "num_updates"),
        (lambda: MultiStepParamScheduler([1], 10, [5]), "need 2 values, got 1"),
        (lambda: MultiStepParamScheduler([1, 2, 3], 10, [5, 5]), "increasing"),
        (lambda: MultiStepParamScheduler([1, 2], 10, [12]), "before num_updates=10"),
        (lambda: StepParamScheduler(0, [1]), "positive"),
        (lambda: StepParamScheduler(5, []), "at least one value"),
        (lambda: StepWithFixedGammaParamScheduler(1, 1, 0, 10), "gamma must be positive"),
        (lambda: StepWithFixedGammaParamScheduler(1, -1, 0.1, 10), "num_decays"),
        (lambda: CompositeParamScheduler([], [], []), "0 schedulers"),
        (
            lambda: CompositeParamScheduler([ConstantParamScheduler(1)], [0.5], ["fixed"]),
            "add up to 1",
        ),
        (
            lambda: CompositeParamScheduler([ConstantParamScheduler(1)], [1], ["scaled"]),
            "'rescaled' or 'fixed'",
        ),
    ],
)
def test_impossible_schedules_are_refused_with_a_reason(build, message):
    with pytest.raises(ValueError, match=message):
        build()
