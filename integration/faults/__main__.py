"""Do it all and print a table: ``python -m faults`` in this folder's parent."""

import argparse
import sys
import tempfile
from pathlib import Path

from faults.damage import fill_disk, flip_bits, stop_worker
from faults.kills import kill_repeatedly
from faults.tiny import KINDS, Training

_FLIPS = 40


def main() -> int:
    """Run; returns 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="faults")
    parser.add_argument("--kills", type=int, default=30, help="in all (default: 30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _all(Path(folder), args.kills, args.seed, args.processes)


def _all(folder: Path, kills: int, seed: int, processes: list[int]) -> int:
    wrong = total = 0
    print("| config | processes | fault | what came of it |\n|---|---|---|---|", flush=True)

    def row(kind: str, count: int, fault: str, result: str, *, good: bool) -> None:
        nonlocal wrong
        wrong += not good
        print(f"| {kind} | {count} | {fault} | {'' if good else '**'}{result} |", flush=True)

    cases = [(kind, count) for count in processes for kind in KINDS]
    for number, (kind, count) in enumerate(cases):
        place = folder / f"{kind}{count}"
        place.mkdir()
        training = Training(place, kind, count)
        share = kills // len(cases) + (number < kills % len(cases))
        killed = kill_repeatedly(training, share, seed + number)
        total += killed.kills
        fault = f"{killed.kills} kills, {killed.in_saves} in saves"
        result = "differs: " + ", ".join(killed.differs) if killed.differs else "equal"
        row(kind, count, fault, result, good=not killed.differs)
    for kind in KINDS:
        place = folder / f"{kind}{processes[0]}"
        training = Training(place, kind, processes[0])
        whole = place / "uninterrupted"
        how, problems = fill_disk(training, whole)
        result = "; ".join(problems) or "named, earlier ones whole, resumed: equal"
        row(kind, processes[0], f"disk full ({how})", result, good=not problems)
        noticed, became = flip_bits(training, whole, _FLIPS, seed)
        result = f"{noticed} noticed; last checkpoint damaged, resumed: {became}"
        fine = noticed == _FLIPS and became == "equal"
        row(kind, processes[0], f"{_FLIPS} flipped bits", result, good=fine)
        waiting = Training(place, kind, processes[0], workers=2, iterations=100000)
        took, last = stop_worker(waiting)
        fine = "stopped by SIGSTOP" in last and "while it loaded image" in last
        result = f"named with its image after {took:.0f} s, limit 5 s" if fine else last
        row(kind, processes[0], "stopped worker", result, good=fine)
    print(f"\n{total} kills; {wrong} rows are not as they should be")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
