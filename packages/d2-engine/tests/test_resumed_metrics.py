"""A training that was ended anywhere and resumed writes what one that was never ended does.

Killed means that nothing more is done, not even ``after_train``; interrupted, that the hooks end as
they do on an error.
"""

import copy
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_engine import HookBase, TrainerBase, hooks
from d2_engine.events import ETA, CommonMetricPrinter, JSONWriter, TensorboardXWriter

END = 12
PLACES = ("step", "evaluation", "writing", "end of step")


class Ended(Exception):
    """What ends a training here."""


class Trainer(TrainerBase):
    """A loss in every iteration, a count in some."""

    killed = False

    def run_step(self) -> None:
        self.storage.put_scalars(total_loss=1.0 / (1 + (7 * self.iter) % 5))
        if self.iter % 3 == 1:
            self.storage.put_scalar("count", self.iter, smoothing_hint=False)

    def after_train(self) -> None:
        if not self.killed:
            super().after_train()


class Save(HookBase):
    """Keep the state of the trainer, as checkpoints do."""

    def __init__(self, period: int, saved: list[dict[str, Any]]) -> None:
        self._period, self._saved = period, saved

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period == 0:
            self._saved.append(copy.deepcopy(self.trainer.state_dict()))


class EndAt(HookBase):
    """End the training in one iteration."""

    def __init__(self, iteration: int | None) -> None:
        self._iteration = iteration

    def after_step(self) -> None:
        if self.trainer.iter == self._iteration:
            raise Ended


def start(
    folder: Path,
    saved: list[dict[str, Any]],
    periods: tuple[int, int, int],
    end: tuple[int, str, bool] | None = None,
    more: Callable[[], list[HookBase]] = list,
) -> list[int]:
    """Train from the last state; returns after how many iterations it was evaluated."""
    saving, evaluating, writing = periods
    iteration, place, is_killed = end or (None, "", False)
    trainer, evaluated = Trainer(), []
    trainer.killed = is_killed and end is not None

    def evaluate() -> dict[str, float]:
        done = min(trainer.iter, END - 1) + 1
        evaluated.append(done)
        if place == "evaluation" and done - 1 == iteration:
            raise Ended
        return {"AP": 10.0 * done}

    def ending(at: str) -> HookBase:
        return EndAt(iteration if at == place else None)

    trainer.register_hooks(
        [
            *(hooks.IterationTimer(warmup_iter=1), ending("step"), Save(saving, saved)),
            *(hooks.EvalHook(evaluating, evaluate), ending("writing"), *more()),
            hooks.PeriodicWriter(
                [CommonMetricPrinter(END), JSONWriter(folder / "metrics.json", 5)], writing
            ),
            ending("end of step"),
        ]
    )
    if saved:
        trainer.load_state_dict(copy.deepcopy(saved[-1]))
    try:
        trainer.train(trainer.start_iter, END)
    except Ended:
        assert end is not None
    return evaluated


def lines(folder: Path) -> list[dict[str, Any]]:
    """What was written, without times."""
    whole = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("time", ETA)} for line in whole]


def with_losses(folder: Path) -> list[int]:
    return [line["iteration"] for line in lines(folder) if "total_loss" in line]


ends = st.tuples(st.integers(0, END - 1), st.sampled_from(PLACES), st.booleans())
some_periods = st.tuples(st.integers(1, 5), st.integers(0, 5), st.integers(1, 5))


@settings(deadline=None, max_examples=150)
@given(some_periods, st.lists(ends, min_size=1, max_size=4))
def test_metrics_are_those_of_a_training_that_was_never_ended(periods, all_ends):
    with tempfile.TemporaryDirectory() as name:
        whole, resumed = Path(name, "whole"), Path(name, "resumed")
        start(whole, [], periods)
        saved: list[dict[str, Any]] = []
        for end in all_ends:
            start(resumed, saved, periods, end)
        start(resumed, saved, periods)
        assert lines(resumed) == lines(whole)


def test_an_evaluation_that_was_not_ended_is_done_again_and_one_that_was_is_not(tmp_path):
    for place, again in (("evaluation", [8, 12]), ("writing", [8, 12]), ("end of step", [12])):
        folder, saved = tmp_path / place, []
        start(folder, saved, (4, 4, 4), (7, place, True))
        assert start(folder, saved, (4, 4, 4)) == again


def test_another_period_of_writing_loses_no_line_that_is_there(tmp_path):
    saved: list[dict[str, Any]] = []
    start(tmp_path, saved, (4, 0, 2), (8, "step", True))
    start(tmp_path, saved, (4, 0, 3))
    assert with_losses(tmp_path) == [1, 3, 5, 7, 8, 11]


def test_a_checkpoint_without_scalars_is_resumed_and_no_iteration_is_there_twice(tmp_path):
    saved: list[dict[str, Any]] = []
    start(tmp_path, saved, (4, 0, 2), (10, "step", True))
    del saved[-1]["events"], saved[-1]["hooks"]
    start(tmp_path, saved, (4, 0, 2))
    assert with_losses(tmp_path) == [1, 3, 5, 7, 9, 11]


def test_a_series_of_which_the_checkpoint_knows_nothing_is_continued(tmp_path):
    class Late(HookBase):
        def after_step(self) -> None:
            self.trainer.storage.put_scalars(late=float(self.trainer.iter))

    saved: list[dict[str, Any]] = []
    start(tmp_path, saved, (1, 0, 1), (0, "end of step", True), lambda: [Late()])
    start(tmp_path, saved, (1, 0, 1), more=lambda: [Late()])
    assert ["late" in line for line in lines(tmp_path) if "AP" not in line] == [True] * END


def test_the_best_checkpoint_of_an_evaluation_that_was_done_again_is_kept(tmp_path):
    from torch import nn

    from d2_engine.checkpoint import Checkpointer

    def best() -> list[HookBase]:
        return [hooks.BestCheckpointer(4, Checkpointer(nn.Linear(1, 1), tmp_path), "AP", "min")]

    saved: list[dict[str, Any]] = []
    start(tmp_path, saved, (4, 4, 4), (3, "evaluation", True), best)
    assert not (tmp_path / "model_best.pth").exists()
    start(tmp_path, saved, (4, 4, 4), more=best)
    found = Checkpointer(nn.Linear(1, 1)).load(str(tmp_path / "model_best.pth"))
    assert found == {"iteration": 3}


def test_tensorboard_has_each_iteration_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    saved: list[dict[str, Any]] = []
    for number, end in enumerate([(7, "writing", True), (9, "step", True), None]):
        writer = TensorboardXWriter(str(tmp_path))
        also: list[HookBase] = [hooks.PeriodicWriter([writer], 2)]
        start(tmp_path, saved, (4, 4, 2), end, functools.partial(list, also))
        if end is not None:
            writer.close()  # what a kill leaves to the system
        # TensorBoard reads files by name, of which a second and a number that grows are parts:
        # within one second 10 comes before 9.
        (file,) = tmp_path.glob("events.out.tfevents.*")
        file.rename(tmp_path / f"{number}.tfevents")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("total_loss")] == [1, 3, 5, 7, 9, 11]
    assert [event.step for event in events.Scalars("AP")] == [3, 7, 12]


@pytest.mark.parametrize("what", ["step", "after it"])
def test_an_error_of_ending_does_not_hide_what_ended_training(caplog, what):
    class Fail(HookBase):
        def after_train(self) -> None:
            raise OSError("in ending")

    trainer = Trainer()
    trainer.register_hooks([EndAt(2 if what == "step" else None), Fail()])
    with pytest.raises(Ended if what == "step" else OSError):
        trainer.train(0, 4)
    assert ("After that, OSError: in ending" in caplog.text) == (what == "step")
