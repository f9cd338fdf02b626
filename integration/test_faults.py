"""The short form of ``nox -s faults``: a training that is killed, and one whose disk fills."""

import pytest

pytest.importorskip("resource")  # not on Windows

from faults.damage import fill_disk, flip_bits, stop_worker
from faults.kills import kill_repeatedly
from faults.tiny import Training

_ITERATIONS = 12


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    # Of the module, so that the run that is left alone has it too: sums of several threads differ.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def killed(folder):
    """What came of kills; the run that was left alone stays in the folder."""
    return kill_repeatedly(Training(folder, "lazy", iterations=_ITERATIONS), 2, seed=3)


def test_a_training_that_is_killed_becomes_what_one_that_is_not_becomes(killed):
    assert killed.differs == []
    assert killed.kills == 2


def test_a_training_whose_disk_fills_says_so_and_goes_on_when_there_is_room(folder, killed):
    training = Training(folder, "lazy", iterations=_ITERATIONS)
    _, wrong = fill_disk(training, folder / "uninterrupted")
    assert wrong == []


def test_flipped_bits_are_noticed_and_survived(folder, killed):
    training = Training(folder, "lazy", iterations=_ITERATIONS)
    assert flip_bits(training, folder / "uninterrupted", 10, seed=0) == (10, "equal")


def test_a_stopped_loading_process_is_named_with_what_it_held(folder):
    _, last = stop_worker(Training(folder, "lazy", workers=2, iterations=100000))
    assert "stopped by SIGSTOP" in last
    assert "while it loaded image" in last
