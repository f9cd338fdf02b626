"""Processes that work for another."""

import os
import signal
import threading

import pytest

from d2_engine.child_processes import run_in_processes
from d2_engine.interruption import Interruption, TrainingInterrupted


class UnpicklableError(Exception):
    def __init__(self, needed: int, *, also: int) -> None:
        super().__init__(f"{needed} and {also}")
        self.lock = threading.Lock()


def fail(index: int, message: str) -> None:
    error = ValueError(f"{message} in {index}")
    error.add_note("and a note")
    raise error


def fail_unpicklably(index: int) -> None:
    raise UnpicklableError(1, also=2)


def have_the_parent_signalled(index: int, signum: int) -> None:
    with Interruption() as interruption, interruption.immediate():
        os.kill(os.getppid(), signum)
        signal.pause()


def test_the_error_of_a_process_is_raised_here_as_it_was():
    with pytest.raises(ValueError, match="broken data in 0") as caught:
        run_in_processes(fail, 1, ("broken data",))
    assert caught.value.__notes__ == ["and a note"]
    assert "in fail" in str(caught.value.__cause__)  # the traceback of the process


def test_an_error_that_cannot_travel_is_told_with_its_traceback():
    with pytest.raises(Exception, match="UnpicklableError: 1 and 2"):
        run_in_processes(fail_unpicklably, 1, ())


def test_a_signal_is_passed_on():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterrupted) as caught:
        run_in_processes(have_the_parent_signalled, 1, (signal.SIGTERM,))
    assert caught.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
