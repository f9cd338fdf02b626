"""The processes that a command starts."""

import subprocess
import time
from pathlib import Path

_AT_MOST_S = 15.0
_LOADER = "pt_data_worker"
"""The name that torch gives to processes that load data."""


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that these did."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(number) for number in thread.read_text().split()]
        except OSError:  # it has ended meanwhile
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def loaders(pid: int) -> list[int]:
    """Return those of a process's descendants that load data."""
    return [number for number in descendants(pid) if _name(number) == _LOADER]


def kill_with_all(process: subprocess.Popen[str]) -> None:
    """Kill a process by SIGKILL and wait until what it started has ended with it.

    Raises:
        RuntimeError: if something has not, after 15 seconds.
    """
    started = descendants(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + _AT_MOST_S
    while alive := [pid for pid in started if _is_alive(pid)]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {alive} go on though the one that started them is dead")
        time.sleep(0.01)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
