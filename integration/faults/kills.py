"""Killing a training again and again, and holding what it becomes against one left alone."""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from faults.processes import kill_with_all
from faults.tiny import Training, differences

_LOOK_S = 0.0005
_AT_MOST_S = 600.0


class Killed(NamedTuple):
    """What came of a training that was killed several times.

    Attributes:
        kills: how often it was killed.
        in_saves: how often of those a checkpoint was being written.
        differs: what is not as in the uninterrupted run.
    """

    kills: int
    in_saves: int
    differs: list[str]


def kill_repeatedly(
    training: Training, kills: int, seed: int, uninterrupted: Path | None = None
) -> Killed:
    """Kill a training with SIGKILL at random moments, every second time during a save.

    A training that reaches its end before is held against the other one and begun anew.

    Args:
        training: what to run.
        kills: how often.
        seed: of the moments.
        uninterrupted: a finished run of the same; made if there is none.
    """
    moments = random.Random(seed)
    if uninterrupted is None:
        uninterrupted = training.folder / "uninterrupted"
        begin = time.monotonic()
        code, last = training.finish(uninterrupted)
        if code:
            raise RuntimeError(f"the uninterrupted run failed: {last}")
        took = time.monotonic() - begin
    else:
        took = 10.0
    run = training.folder / "killed"
    done = in_saves = 0
    differs: list[str] = []
    while done < kills:
        shutil.rmtree(run, ignore_errors=True)
        before = done
        for number in range(done, kills):
            process = training.start(run, "--resume", stderr=subprocess.DEVNULL)
            if number % 2:
                _wait_for_save(process, run, moments.randrange(2))
            else:
                _wait(process, moments.uniform(0, 0.8 * took))
            if process.poll() is not None:  # it has reached its end: on with another one
                break
            in_saves += bool(_being_written(run))
            kill_with_all(process)
            done += 1
        code, last = training.finish(run, "--resume")
        wrong = [f"failed: {last}"] if code else differences(run, uninterrupted) + _left_over(run)
        differs += [part for part in wrong if part not in differs]
        if done == before:
            raise RuntimeError("the training always ended before it could be killed")
    return Killed(done, in_saves, differs)


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _wait_for_save(process: subprocess.Popen[str], run: Path, saves: int) -> None:
    """Return in the middle of a save, after some that are left alone."""
    known = _being_written(run)
    deadline = time.monotonic() + _AT_MOST_S
    while process.poll() is None and time.monotonic() < deadline:
        new = _being_written(run) - known
        if new and saves == 0:
            return
        saves -= len(new)
        known |= new
        time.sleep(_LOOK_S)


def _being_written(run: Path) -> set[str]:
    return {name for name in _names(run) if name.endswith(".tmp") and ".pth." in name}


def _left_over(run: Path) -> list[str]:
    return [f"left: {name}" for name in _names(run) if name.endswith(".tmp")]


def _names(run: Path) -> list[str]:
    try:
        return os.listdir(run)
    except FileNotFoundError:
        return []
