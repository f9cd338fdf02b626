"""Mutate pickles and read them: ``python -m fuzz --count 100000 --seed 0``."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

_BATCH = 5000
_SECONDS_TO_START = 120
_SECONDS_A_THOUSAND = 120


@frozen
class Batch:
    """What came of some mutants.

    Attributes:
        outcomes: how many were read, refused, or else.
        broken: promises that were broken, by which mutant.
    """

    outcomes: Counter[str]
    broken: list[str]


def main() -> int:
    """Run; returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--count", type=int, default=100_000, help="of mutants (default: 100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="at the same time (default: 1)")
    args = parser.parse_args()
    begun = time.monotonic()
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    for batch in fuzz(args.count, args.seed, args.processes):
        outcomes += batch.outcomes
        broken += batch.broken
        for problem in batch.broken:
            print(problem, flush=True)
        print(f"{outcomes.total()} of {args.count}: {_text(outcomes)}", flush=True)
    took = time.monotonic() - begun
    print(
        f"{outcomes.total()} mutants of seed {args.seed} in {took:.0f} s: {_text(outcomes)}; "
        f"{len(broken)} broke a promise"
    )
    return bool(broken)


def _text(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


def fuzz(count: int, seed: int, processes: int = 1) -> Iterator[Batch]:
    """Read mutants in batches, each in a process of its own.

    Args:
        count: how many.
        seed: which.
        processes: how many batches at the same time.
    """
    starts = range(0, count, _BATCH)
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda first: _batch(first, min(_BATCH, count - first), seed), starts)


def _batch(first: int, count: int, seed: int) -> Batch:
    """One process after another until all mutants of a batch were read."""
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    end = first + count
    while first < end:
        with tempfile.TemporaryDirectory() as folder:
            done = _process(Path(folder), first, end - first, seed)
            if isinstance(done, Batch):
                return Batch(outcomes + done.outcomes, broken + done.broken)
            outcome, problem = done
            left = sorted(Path(folder).glob("mutant_*.pkl"))
            if not left:
                return Batch(outcomes, [*broken, f"the batch from mutant {first}: {problem}"])
            number = int(left[0].stem.rpartition("_")[2])
            outcomes[outcome] += 1
            broken.append(f"mutant {number} of seed {seed}: {problem}")
            if number > first:  # what came of those before died with the process
                again = _batch(first, number - first, seed)
                outcomes += again.outcomes
                broken += again.broken
            first = number + 1
    return Batch(outcomes, broken)


def _process(folder: Path, first: int, count: int, seed: int) -> Batch | tuple[str, str]:
    command = [sys.executable, "-m", "fuzz.batch", str(folder), str(first), str(count)]
    limit = _SECONDS_TO_START + _SECONDS_A_THOUSAND * (count // 1000 + 1)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    try:
        done = subprocess.run(
            [*command, "--seed", str(seed)],
            capture_output=True,
            text=True,
            timeout=limit,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hung", f"the batch took more than {limit} s"
    if done.returncode == 0:
        content = json.loads(done.stdout.splitlines()[-1])
        return Batch(Counter(content["outcomes"]), content["broken"])
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return "crashed", f"the process died of {name}: {done.stderr[-2000:]}"
    outcome = "hung" if "Timeout" in done.stderr else "crashed"
    return outcome, f"the process ended with {done.returncode}: {done.stderr[-2000:]}"


if __name__ == "__main__":
    raise SystemExit(main())
