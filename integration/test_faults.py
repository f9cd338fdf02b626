"""The short form of ``nox -s faults``: two kills, flipped bits, a stopped worker."""

import os

import pytest
from faults.damage import flip_bits, stop_worker
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


def test_a_training_that_is_killed_has_the_weights_and_optimizer_it_would_have_had(finished):
    training, run = finished
    killed = kill_repeatedly(training, 2, seed=0, uninterrupted=run)
    assert killed.kills == 2
    assert not {"model", "optimizer"} & set(killed.differs), killed.differs
    assert not [what for what in killed.differs if what.startswith("failed")]


def test_flipped_bits_are_noticed(finished):
    noticed, _ = flip_bits(*finished, flips=20, seed=1)
    assert noticed == 20


def test_a_stopped_worker_is_named_within_the_limit(finished):
    training = Training(finished[0].folder, "lazy", workers=2, iterations=100000)
    took, last = stop_worker(training)
    assert "(stopped by SIGSTOP) while it loaded image" in last
    assert took < 60
