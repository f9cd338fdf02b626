"""Timing the parts of a run, with a clock that counts its readings."""

import itertools

import attrs
import pytest
import torch

from d2_engine.cli import main
from d2_engine.run.benchmark import Stage, benchmark, stage_table

PARTS = [
    "training data",
    "forward",
    "backward",
    "update",
    "test data",
    "inference",
    "evaluator",
]


class Ticks:
    """A clock that goes on by one second whenever it is read."""

    def __init__(self):
        self._ticks = itertools.count()

    def __call__(self):
        return float(next(self._ticks))


def test_each_part_is_timed_as_often_as_asked_for(tiny, tmp_path):
    stages = benchmark(tiny.plan(tmp_path), 2, clock=Ticks())
    assert [stage.name for stage in stages] == PARTS
    by_name = {stage.name: stage for stage in stages}
    for name in ("training data", "forward", "backward", "update", "inference", "evaluator"):
        assert by_name[name].seconds == (1.0, 1.0)
    assert by_name["forward"].images == 2
    assert not any(tmp_path.iterdir())


def test_accumulated_batches_belong_to_one_iteration(tiny, tmp_path):
    stages = benchmark(tiny.plan(tmp_path, accumulate=3), 1, clock=Ticks())
    by_name = {stage.name: stage.seconds for stage in stages}
    assert by_name["forward"] == by_name["backward"] == (3.0,)
    assert by_name["update"] == (1.0,)


def test_sizes_that_follow_the_data_are_settled(tiny, tmp_path):
    plan = tiny.plan(tmp_path, num_classes="null")
    assert len(benchmark(plan, 1, clock=Ticks())) == len(PARTS)


def test_a_run_may_be_timed_with_its_weights(tiny, tmp_path):
    plan = tiny.plan(tmp_path)
    made = []

    def model():
        made.append(plan.model())
        return made[0]

    torch.save({"model": plan.model().state_dict()}, tmp_path / "model.pth")
    benchmark(attrs.evolve(plan, model=model), 1, weights=str(tmp_path / "model.pth"))
    saved = torch.load(tmp_path / "model.pth", weights_only=True)["model"]
    parameters = dict(made[0].named_parameters())
    assert all(torch.equal(value, saved[name]) for name, value in parameters.items())


def test_at_least_one_iteration_is_timed(tiny, tmp_path):
    with pytest.raises(ValueError, match="at least one iteration is timed, got 0"):
        benchmark(tiny.plan(tmp_path), 0)


def test_the_table_has_medians_and_images_in_a_second():
    table = stage_table([Stage("forward", (0.1, 0.2, 0.9), 4), Stage("update", (0.5,), None)])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows[2] == ["forward", "4", "200.00", "900.00", "20.00"]
    assert rows[3] == ["update", "", "500.00", "500.00", ""]


def test_the_command_prints_the_table(tiny, capfd):
    assert main(["benchmark", str(tiny.config), "--iterations", "1"]) == 0
    printed = capfd.readouterr().out
    assert all(f"| {part} " in printed for part in PARTS)
