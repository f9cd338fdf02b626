"""The short form of ``nox -s faults``: two kills, a full disk, flipped bits, a stopped worker."""

import os
import shutil

import pytest
from faults.damage import fill_disk, flip_bits, stop_worker
from faults.kills import kill_repeatedly
from faults.tiny import Training

_ITERATIONS = 12


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training that was left alone, and its folder."""
    training = Training(tmp_path_factory.mktemp("faults"), "yaml", iterations=_ITERATIONS)
    run = training.folder / "uninterrupted"
    assert training.finish(run)[0] == 0
    return training, run


def test_a_training_that_is_killed_in_a_save_becomes_what_it_would_have_been(finished):
    training, run = finished
    killed = kill_repeatedly(training, 2, seed=0, uninterrupted=run)
    assert killed.kills == 2
    assert killed.differs == []


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs a system with mount")
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(finished):
    _, wrong = fill_disk(*finished)
    assert wrong == []


def test_flipped_bits_are_noticed_and_the_run_goes_on_from_an_earlier_checkpoint(finished):
    assert flip_bits(*finished, flips=20, seed=1) == (20, "equal")


def test_a_stopped_worker_is_named_within_the_limit(finished):
    training = Training(finished[0].folder, "lazy", workers=2, iterations=100000)
    took, last = stop_worker(training)
    assert "(stopped by SIGSTOP) while it loaded image" in last
    assert took < 60
