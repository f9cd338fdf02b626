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
from faults.tiny import Training, differences


def fill_disk(training: Training, uninterrupted: Path) -> tuple[str, list[str]]:
    """Train where the second checkpoint does not fit, then make room and resume.

    Returns:
        How the disk was made small, and what is wrong.
    """
    run = training.folder / "full"
    shutil.rmtree(run, ignore_errors=True)
    size = max(path.stat().st_size for path in uninterrupted.glob("*.pth"))
    with _small_disk(run, int(1.6 * size)) as mounted:
        how = "tmpfs" if mounted else "RLIMIT_FSIZE stands in"
        limit = None if mounted else _limit_to(size // 2)
        code, last = training.finish(run, preexec_fn=limit)
        wrong = [] if code == 1 and "could not be written" in last else [f"{code}: {last}"]
        if any(_unreadable(path) for path in run.glob("*.pth")):
            wrong.append("an earlier checkpoint is damaged")
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=1G", str(run)], check=True)
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
    """Stop a loading process.

    Returns:
        Seconds from then to the end, with a limit of 2 s, and the last line.
    """
    run = training.folder / "stopped"
    shutil.rmtree(run, ignore_errors=True)
    process = training.start(run, "--stall-timeout", "2")
    while process.poll() is None and not (run / "last_checkpoint").exists():
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGSTOP)
    begin = time.monotonic()
    lines = process.communicate()[1].splitlines()
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
