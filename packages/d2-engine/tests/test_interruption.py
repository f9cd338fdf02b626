"""Signals end a run after a complete iteration."""

import os
import signal

import pytest

from d2_engine import TrainerBase, hooks
from d2_engine.interruption import (
    Interruption,
    StopOnInterruption,
    StoppedAtOnceError,
    TrainingInterrupted,
)


class SignalsItself(TrainerBase):
    def __init__(self, *signals: int) -> None:
        super().__init__()
        self.signals = signals
        self.completed: list[int] = []

    def run_step(self) -> None:
        if self.iter == 2:
            for signum in self.signals:
                os.kill(os.getpid(), signum)
        self.completed.append(self.iter)


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_iteration_in_progress_is_completed(signum, exit_code):
    trainer = SignalsItself(signum)
    seen = []
    with Interruption() as interruption:
        trainer.register_hooks(
            [
                hooks.CallbackHook(after_step=lambda t: seen.append(t.iter)),
                StopOnInterruption(interruption),
            ]
        )
        with pytest.raises(TrainingInterrupted, match=signal.Signals(signum).name) as caught:
            trainer.train(0, 10)
    assert trainer.completed == seen == [0, 1, 2]
    assert trainer.iter == 2
    assert caught.value.exit_code == exit_code


def test_a_second_signal_stops_at_once():
    trainer = SignalsItself(signal.SIGTERM, signal.SIGINT)
    clock = iter([10.0, 11.5])
    with Interruption(lambda: next(clock)) as interruption:
        trainer.register_hooks([StopOnInterruption(interruption)])
        with pytest.raises(StoppedAtOnceError, match="at once by SIGINT") as caught:
            trainer.train(0, 10)
    assert trainer.completed == [0, 1]
    assert caught.value.exit_code == 130
    assert isinstance(caught.value, KeyboardInterrupt)


def test_a_signal_that_a_process_and_its_group_got_is_one():
    trainer = SignalsItself(signal.SIGTERM, signal.SIGTERM)
    clock = iter([10.0, 10.5])
    with Interruption(lambda: next(clock)) as interruption:
        trainer.register_hooks([StopOnInterruption(interruption)])
        with pytest.raises(TrainingInterrupted):
            trainer.train(0, 10)
    assert trainer.completed == [0, 1, 2]


def test_evaluation_is_left_at_once():
    with Interruption() as interruption:
        with pytest.raises(TrainingInterrupted), interruption.immediate():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(TrainingInterrupted), interruption.immediate():
            raise AssertionError("not reached: the signal came before")


def test_the_previous_handlers_come_back():
    before = [signal.getsignal(s) for s in Interruption.SIGNALS]
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(s) for s in Interruption.SIGNALS] == before
