"""Prints results beside the goals: ``python table.py [FILE ...]``, by default all that are kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from goals import outcomes, strictest

KEPT = Path(__file__).resolve().parents[1] / "results" / "gpu"
NOTHING = "Nothing has run on a device yet: benchmarks/results/gpu holds no results."


def lines(document: dict[str, Any]) -> Iterator[str]:
    """The tables of a run."""
    environment = document["environment"]
    versions = environment.get("versions", {})
    yield f"{environment.get('card')}, torch {versions.get('torch')}, {environment.get('date')}"
    if environment.get("dry"):
        yield "A dry run: the CPU stood in for the device. No figure below is one of a device."
    yield from _steps(document)
    yield from _figures(document)
    yield from _goals(document)


def _steps(document: dict[str, Any]) -> Iterator[str]:
    yield ""
    for step in document["steps"]:
        status = step["status"]
        says = {0: "ok", None: "cut", 124: "out of time"}.get(status, f"status {status}")
        yield f"{step['name']:<10} {says:<12} {step['seconds']:>4} of {step['limit']} s"
    tests = document["tests"]
    yield (f"tests: {tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped")
    yield from (f"  {f['test']}: {f['says'].splitlines()[:1]}" for f in tests["failures"])
    yield from (f"{s['tool']}: status {s['status']} {s['says']}" for s in document["sanitizer"])


def _figures(document: dict[str, Any]) -> Iterator[str]:
    figures = document["figures"]
    if figures:
        head = f"{'ours':>10} {'peer':>10} {'ratio':>7} {'goal':>6}  "
        yield f"\n{head}{'GB/s (copy)':>14} {'images/s':>9}"
    for figure in figures:
        name = " ".join(filter(None, (figure["name"], figure["mode"], figure["what"])))
        if "error" in figure:
            yield f"{'failed':>10} {'':>50}  {name}: {figure['error']}"
            continue
        goal, ratio = strictest(figure), figure["ratio"]
        bound = "—" if goal is None else f"{goal.at_least:g}x"
        if goal is not None and ratio < goal.at_least:
            bound += "!"  # missed
        moved = figure.get("bytes_per_second")
        bandwidth = (
            "" if moved is None else f"{moved / 1e9:.0f} ({figure['share_of_copy_rate']:.0%})"
        )
        rate = figure.get("images_per_second")
        yield (
            f"{_time(figure['ours']):>10} {_time(figure['peer']):>10} "
            f"{'—' if ratio is None else f'{ratio:.2f}x':>7} {bound:>6}  {bandwidth:>14} "
            f"{'' if rate is None else f'{rate:.1f}':>9}  {name}{_rest(figure)}"
        )


def _rest(figure: dict[str, Any]) -> str:
    """What only figures of models have."""
    words = []
    for prefix, whose in (("", ""), ("peer_", "peer ")):
        if figure.get(f"{prefix}peak_bytes"):
            words.append(f"{whose}{figure[f'{prefix}peak_bytes'] / 2**30:.1f} GiB")
        if figure.get(f"{prefix}host"):
            words.append(f"{whose}{figure[f'{prefix}host']['waits']} waits")
    if figure.get("share_waiting_for_data") is not None:
        words.append(f"{figure['share_waiting_for_data']:.0%} waiting for data")
    return f" [{', '.join(words)}]" if words else ""


def _goals(document: dict[str, Any]) -> Iterator[str]:
    yield "\ngoals"
    figures = [] if document["environment"].get("dry") else document["figures"]
    for outcome in outcomes(figures):
        goal, figure = outcome.goal, outcome.figure
        unit = "x torchvision" if goal.measure == "ratio" else ""
        says = f"{goal.says}: at least {goal.at_least:g}{unit}"
        if figure is None:
            yield f"  not measured  {says}"
            continue
        met = "met   " if outcome.met else "missed"
        where = f"{figure['name']} {figure['mode']} {figure['what']}"
        yield f"  {met}  {says}; {goal.of} {figure[goal.measure]:.2f} ({where})"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def main(arguments: list[str]) -> int:
    paths = [Path(a) for a in arguments] or sorted(KEPT.glob("*.json"))
    if not paths:
        print(NOTHING)
    for path in paths:
        print("\n".join(lines(json.loads(path.read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
