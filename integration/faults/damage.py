"""A disk that is full, a disk that errs, and a loading process that is stopped."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d2_engine.checkpoint import read_checkpoint
from faults.processes import kill_with_all, loaders
from faults.tiny import Training, differences

_FIRST = 4
"""Iterations to the first checkpoint."""

_AT_MOST_S = 120.0


def fill_disk(training: Training, uninterrupted: Path) -> tuple[str, list[str]]:
    """Train where only the first checkpoints fit, then make room and resume.

    Returns:
        How the disk was made small, and what is wrong.
    """
    run = training.folder / "full"
    shutil.rmtree(run, ignore_errors=True)
    size = max(path.stat().st_size for path in uninterrupted.glob("*.pth"))
    with _small_disk(run, int(1.6 * size)) as mounted:
        how = "tmpfs" if mounted else "a limit on the size of files, as no tmpfs may be mounted"
        limit = None
        if not mounted:
            code, last = training.finish(run, *training.ending_at(_FIRST))
            if code:
                return how, [f"{code}: {last}"]
            limit = _limit_to(size // 2)
        code, last = training.finish(run, "--resume", preexec_fn=limit)
        wrong = [] if code == 1 and "no space left on" in last else [f"{code}: {last}"]
        checkpoints = list(run.glob("*.pth"))
        if not checkpoints or any(_unreadable(path) for path in checkpoints):
            wrong.append("an earlier checkpoint is damaged or gone")
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=4G", str(run)], check=True)
        code, last = training.finish(run, "--resume")
        wrong += [f"{code}: {last}"] if code else differences(run, uninterrupted)
    return how, wrong


def flip_bits(training: Training, uninterrupted: Path, flips: int, seed: int) -> tuple[int, str]:
    """Flip single bits of a checkpoint, and resume from a folder whose last one is damaged.

    Returns:
        How many flips were noticed on reading, and what the resumed run became.
    """
    draw = random.Random(seed)
    run = training.folder / "flipped"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(uninterrupted, run)
    last = run / (run / "last_checkpoint").read_text().strip()
    content = last.read_bytes()
    if _unreadable(last):
        raise RuntimeError(f"{last} cannot be read though nothing was done to it")
    noticed = 0
    for _ in range(flips):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        last.write_bytes(damaged)
        noticed += _unreadable(last)
    middle = bytearray(content)
    middle[len(content) // 2] ^= 1
    last.write_bytes(middle)
    code, message = training.finish(run, "--resume")
    if code:
        return noticed, message
    return noticed, ", ".join(differences(run, uninterrupted)) or "equal"


def stop_worker(training: Training) -> tuple[float, str]:
    """Stop a loading process by SIGSTOP.

    Args:
        training: with loading processes, and without an end.

    Returns:
        Seconds from then to the end, with a limit of 5 s, and the last line.

    Raises:
        RuntimeError: if training ends before, or does not end within two minutes.
    """
    run = training.folder / "stopped"
    shutil.rmtree(run, ignore_errors=True)
    process = training.start(run, "--stall-timeout", "5")
    while not (run / "last_checkpoint").exists():
        if process.poll() is not None:
            raise RuntimeError(f"training ended early: {process.communicate()[1]}")
        time.sleep(0.01)
    stopped = loaders(process.pid)[-1]
    os.kill(stopped, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        lines = process.communicate(timeout=_AT_MOST_S)[1].splitlines()
    except subprocess.TimeoutExpired:
        kill_with_all(process)
        raise RuntimeError(f"training goes on without its loading process {stopped}") from None
    return time.monotonic() - begin, lines[-1]


def _unreadable(path: Path) -> bool:
    try:
        read_checkpoint(str(path))
    except (OSError, ValueError):
        return True
    return False


def _limit_to(size: int) -> object:
    # Python ignores the signal that comes with it: the writer gets EFBIG.
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a small file system where that is allowed."""
    folder.mkdir(parents=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
