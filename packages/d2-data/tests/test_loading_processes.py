"""Loading processes outlast signals to the group, and end with their parent."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from d2_data import build_detection_test_loader, guard_workers, stopped_by

RECORDS = [{"file_name": f"{index}.jpg", "image_id": index} for index in range(6)]
METHODS = ["fork", "spawn", "forkserver"]
WITH_THESE_TESTS = os.environ | {
    "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])
}
FORKING = ["fork", "forkserver"]  # of which one is what Python does on Linux


class Pids(Dataset):
    """Elements are the ids of the processes that load them; the first signals itself."""

    def __init__(self, *signals: int) -> None:
        self.signals = signals

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 0:
            for signum in self.signals:
                os.kill(os.getpid(), signum)
        return os.getpid()


@pytest.mark.parametrize("method", METHODS)
def test_a_loading_process_outlasts_signals_that_are_not_its_parents(method):
    data = Pids(signal.SIGTERM, signal.SIGINT)
    loader = DataLoader(data, batch_size=None, num_workers=1, multiprocessing_context=method)
    guard_workers(loader)
    assert len({int(pid) for pid in loader}) == 1


@pytest.mark.parametrize("method", FORKING)
def test_the_parent_can_still_end_a_loading_process(method):
    loader = DataLoader(Pids(), batch_size=None, num_workers=1, multiprocessing_context=method)
    guard_workers(loader)
    of_other_tests = set(multiprocessing.active_children())
    items = iter(loader)
    (worker,) = set(multiprocessing.active_children()) - of_other_tests
    assert int(next(items)) == worker.pid
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(60)
    assert worker.exitcode == 0


class Reports(Dataset):
    """Reports errors as a thread of multiprocessing does that passes batches on."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        for error in (BrokenPipeError("nobody waits"), ValueError("a fault")):
            sys.excepthook(type(error), error, None)
        sys.stderr.flush()
        return index


# A fork server that an earlier test started prints where that one looked.
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_that_nobody_waits_for_a_batch_any_more_is_no_error_to_print(method, capfd):
    loader = DataLoader(Reports(), batch_size=None, num_workers=1, multiprocessing_context=method)
    guard_workers(loader)
    list(loader)
    error = capfd.readouterr().err
    assert "ValueError: a fault" in error
    assert "nobody waits" not in error


ORPHANS = """
import os, signal, sys
from torch.utils.data import DataLoader
from d2_data import guard_workers
from test_loading_processes import Pids

if __name__ == "__main__":
    loader = DataLoader(
        Pids(), batch_size=None, num_workers=2, multiprocessing_context=sys.argv[1],
        persistent_workers=True,
    )
    guard_workers(loader)
    for _ in iter(loader):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


def ends_with_all_its_processes(*arguments: str) -> bool:
    """Whether no process of a run of Python, which kills itself, outlives it by 15 seconds."""
    # Every process of the run holds the writing end: reading ends when all have ended.
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        pass_fds=[writing],
        env=WITH_THESE_TESTS,
    )
    os.close(writing)
    assert process.wait(timeout=60) == -signal.SIGKILL
    ended = bool(select.select([reading], [], [], 15)[0])
    os.close(reading)
    return ended


@pytest.mark.parametrize("method", METHODS)
def test_loading_processes_end_with_a_killed_parent(method, tmp_path):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    assert ends_with_all_its_processes(str(tmp_path / "orphans.py"), method)


def stop_at_3(record):
    if record["image_id"] == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return record


def wait_until_stopped(process: int) -> None:
    end = time.monotonic() + 60
    while stopped_by(process) is None:
        assert time.monotonic() < end


@pytest.mark.parametrize("method", FORKING)
def test_a_stopped_loading_process_is_named_with_signal_and_record(method):
    loader = build_detection_test_loader(RECORDS, mapper=stop_at_3, num_workers=2)
    loader.multiprocessing_context = method
    loader.timeout = 0.5 if method == "fork" else 10  # others import torch first
    with pytest.raises(
        ChildProcessError,
        match=r"nothing for (0.5|10) s: \d+ \(stopped by SIGSTOP\) while it loaded image '3\.jpg' "
        r"\(image_id 3\), element 3; .*kill -CONT.*--stall-timeout",
    ):
        list(loader)


def tensor_then_stop(record):
    if record["image_id"] == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    return {"image": torch.zeros(3)}


@pytest.mark.parametrize("method", FORKING)
def test_a_process_that_is_stopped_before_its_batch_is_fetched_from_it_is_given_up(method):
    loader = build_detection_test_loader(RECORDS, mapper=tensor_then_stop, num_workers=1)
    loader.multiprocessing_context = method
    loader.timeout = 0.5
    of_other_tests = set(multiprocessing.active_children())
    items = iter(loader)
    (worker,) = set(multiprocessing.active_children()) - of_other_tests
    wait_until_stopped(worker.pid)
    with pytest.raises(ChildProcessError, match=r"0.5 s: \d+ \(stopped by SIGSTOP\) while"):
        next(items)


STOPPED_ORPHAN = """
import multiprocessing, os, signal, sys
from d2_data import build_detection_test_loader
from test_loading_processes import RECORDS, tensor_then_stop, wait_until_stopped

loader = build_detection_test_loader(RECORDS, mapper=tensor_then_stop, num_workers=1)
loader.multiprocessing_context = sys.argv[1]
items = iter(loader)
(worker,) = multiprocessing.active_children()
wait_until_stopped(worker.pid)
if sys.argv[2:]:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("method", FORKING)
def test_a_stopped_loading_process_ends_with_a_killed_parent(method):
    assert ends_with_all_its_processes("-c", STOPPED_ORPHAN, method, "killed")


FORK_SERVER = """
import os, signal
from d2_data import build_detection_test_loader
from test_loading_processes import RECORDS, parent_of

loader = build_detection_test_loader(RECORDS, mapper=parent_of, num_workers=1)
loader.multiprocessing_context = "forkserver"
items = iter(loader)
((server,),) = [next(items)]
os.kill(server, signal.SIGTERM)
assert [next(items), *items] == [[server]] * (len(RECORDS) - 1)
"""


def parent_of(record):
    return os.getppid()


@pytest.mark.skipif(
    multiprocessing.get_all_start_methods()[0] != "forkserver",
    reason="this Python starts loading processes otherwise, and its fork server takes signals",
)
def test_a_fork_server_that_a_loader_started_outlasts_signals_to_the_group():
    arguments = [sys.executable, "-c", FORK_SERVER]
    done = subprocess.run(arguments, env=WITH_THESE_TESTS, timeout=120, check=False)
    assert done.returncode == 0


PRELOADING = """
import multiprocessing, sys
from d2_data import build_detection_test_loader
from test_loading_processes import RECORDS, parent_has_torch

multiprocessing.set_forkserver_preload(["__main__", *sys.argv[1:]])
loader = build_detection_test_loader(RECORDS, mapper=parent_has_torch, num_workers=1)
loader.multiprocessing_context = "forkserver"
assert all(batch[0] for batch in loader)
"""

OTHER_PROCESS = """
import multiprocessing, signal
from d2_data import build_detection_test_loader
from test_loading_processes import RECORDS, parent_of

loader = build_detection_test_loader(RECORDS, mapper=parent_of, num_workers=1)
loader.multiprocessing_context = "forkserver"
list(loader)
other = multiprocessing.get_context("forkserver").Process(target=signal.pause, daemon=True)
other.start()
other.terminate()
other.join(60)
if other.exitcode is None:
    other.kill()
assert other.exitcode == -signal.SIGTERM
"""


def parent_has_torch(record):
    return "libtorch_cpu" in Path(f"/proc/{os.getppid()}/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="libraries of a process are read from /proc")
@pytest.mark.parametrize("own", [(), ("json",)])
def test_a_fork_server_imports_torch_for_all_beside_what_else_it_was_told_to(own):
    arguments = [sys.executable, "-c", PRELOADING, *own]
    done = subprocess.run(arguments, env=WITH_THESE_TESTS, timeout=120, check=False)
    assert done.returncode == 0


def test_other_processes_of_a_fork_server_that_a_loader_started_hear_signals():
    arguments = [sys.executable, "-c", OTHER_PROCESS]
    done = subprocess.run(arguments, env=WITH_THESE_TESTS, timeout=120, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("method", FORKING)
def test_a_program_ends_whose_loading_process_is_stopped(method):
    arguments = [sys.executable, "-c", STOPPED_ORPHAN, method]
    done = subprocess.run(arguments, env=WITH_THESE_TESTS, timeout=120, check=False)
    assert done.returncode == 0


def wait_at_1(record):
    if record["image_id"] == 1:
        os.read(os.pipe()[0], 1)
    return record


@pytest.mark.parametrize("method", FORKING)
def test_what_takes_too_long_is_named(method):
    loader = build_detection_test_loader(RECORDS, mapper=wait_at_1, num_workers=1)
    loader.multiprocessing_context = method
    loader.timeout = 1.5 if method == "fork" else 10
    # Processes of an earlier test may not have ended yet; they are named, too.
    told = r"(1.5|10) s: .*\d+ while it loaded image '1\.jpg'"
    with pytest.raises(ChildProcessError, match=told):
        list(loader)


def test_a_process_that_runs_or_has_ended_is_not_stopped():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert stopped_by(process.pid) is None
    process.communicate()
    assert stopped_by(process.pid) is None


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="at least 0 seconds, got -1"):
        guard_workers(DataLoader(Pids(), num_workers=1), -1)


@pytest.mark.parametrize("method", FORKING)
def test_there_is_a_limit_where_an_ended_process_is_noticed_before_it(method):
    plain = DataLoader(Pids(), num_workers=1, multiprocessing_context=method)
    guard_workers(plain, 7)
    assert plain.timeout == (7 if method == "fork" else 0)
    ours = build_detection_test_loader(RECORDS, mapper=None, num_workers=1)
    ours.multiprocessing_context = method
    guard_workers(ours, 7)
    assert ours.timeout == 7


def test_loaders_without_processes_stay_as_they_are():
    loader = DataLoader(Pids(), num_workers=0)
    guard_workers(loader)
    assert loader.worker_init_fn is None
    assert loader.timeout == 0


def test_a_connection_that_breaks_with_a_process_that_was_given_up_names_that(monkeypatch):
    from d2_data import stopped_workers
    from d2_data.lost_workers import naming_lost_workers

    with pytest.raises(ConnectionResetError), naming_lost_workers():
        raise ConnectionResetError
    monkeypatch.setitem(stopped_workers._given_up, 123, ("SIGSTOP", 5.0))
    with (
        pytest.raises(ChildProcessError, match=r"5 s: 123 \(stopped by SIGSTOP\)"),
        naming_lost_workers(),
    ):
        raise ConnectionResetError
