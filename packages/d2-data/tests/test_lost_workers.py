import os
import signal

import pytest

from d2_data import build_detection_test_loader, naming_lost_workers

RECORDS = [{"file_name": f"{index}.jpg", "image_id": index} for index in range(6)]


def raise_as_torch_does(signal_text):
    try:
        if signal_text:
            raise RuntimeError(f"DataLoader worker (pid 12) is killed by signal: {signal_text}. ")
    except RuntimeError as error:
        raise RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly") from error
    raise RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")


def test_the_signal_is_found_behind_the_error_that_follows_it():
    with (
        pytest.raises(ChildProcessError, match="process 12 .*Bus error.*shared memory.*--shm-size"),
        naming_lost_workers(),
    ):
        raise_as_torch_does("Bus error")
    with (
        pytest.raises(ChildProcessError, match="12, 13 ended unexpectedly; with num_workers=0"),
        naming_lost_workers(),
    ):
        raise_as_torch_does(None)


def test_other_errors_pass():
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError) as caught, naming_lost_workers():
        raise error
    assert caught.value is error


def die_at_3(record):
    if record["image_id"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return record


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_loader_says_what_a_worker_held_when_it_died_of_what(method):
    loader = build_detection_test_loader(RECORDS, mapper=die_at_3, num_workers=1)
    loader.multiprocessing_context = method
    told = r"a signal \(Killed\) while it loaded image '3\.jpg' \(image_id 3\), .*memory probably"
    with pytest.raises(ChildProcessError, match=told):
        list(loader)
