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


def end_with(index: int, how: str) -> None:
    if index == 1:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.Signals[how])
    signal.pause()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", r"process 1 of 2 \(pid \d+\) was ended by SIGKILL; memory probably ran out"),
        ("exit", r"process 1 of 2 \(pid \d+\) ended with exit code 3 and without an error"),
        ("SIGSTOP", r"process 1 of 2 \(pid \d+\) was stopped by SIGSTOP and not continued"),
    ],
)
def test_a_process_that_is_lost_is_named_and_the_others_are_ended(how, said, monkeypatch):
    monkeypatch.setattr("d2_engine.child_processes._GRACE_PERIOD_S", 0.1)
    with pytest.raises(ChildProcessError, match=said):
        run_in_processes(end_with, 2, (how,), stall_timeout=0.1)


def lose_the_peer(index: int) -> None:
    if index == 0:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    raise ValueError("the cause")


def test_the_cause_comes_before_the_errors_of_communication_that_follow():
    with pytest.raises(ValueError, match="the cause"):
        run_in_processes(lose_the_peer, 2, ())


def end_by_ctrl_c(index: int) -> None:
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()


def test_processes_that_a_signal_ends_end_this_one_by_it_as_well():
    with pytest.raises(KeyboardInterrupt):
        run_in_processes(end_by_ctrl_c, 1, ())
