"""COCO's table from files, and from predictions in memory, beside four other implementations.

5 000 images, 36 000 ground truths and 500 000 detections by default. Every measurement is a process
of its own, ours and the peers' in alternation, so that from files its peak of memory is its own;
from memory the making of a model's tensors is in it, with torch and our annotations. There,
annotations are loaded before the clocks start, and everybody begins with the tensors and encoded
masks of a model: ours takes them image by image, for the peers they become the dicts of COCO's
format, all that they read, and the seconds without that are given too. Beside seconds by the clock
stand those of all processors, which tell more where a machine does other things meanwhile.
Precision, recall and scores have to be equal to pycocotools' in every bit. Peers that are not
installed are left out. Figures are kept as soon as there are some; tasks may be run one by one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import _paired
import numpy as np
from coco_matching import PEERS, TASKS, for_peers, installed, scene

ARRAYS = ("precision", "recall", "scores")


class Cost(NamedTuple):
    """Seconds by the clock and of all processors, the same without making entries, and MiB."""

    seconds: float
    processor_seconds: float
    seconds_without_entries: float
    processor_seconds_without_entries: float
    peak_mib: float


def of_ours(task: Any, source: str, files: tuple[Path, Path]) -> Callable[[], Any]:
    from d2_eval import COCOEvaluator, evaluate_coco_results

    if source == "files":
        return lambda: evaluate_coco_results(files[0], files[1], task)
    evaluator = COCOEvaluator(files[0], tasks=task)
    predictions = images_of(evaluator._ground_truth, files[1])

    def call() -> Any:
        evaluator.reset()
        for image, instances in predictions:
            evaluator.process([{"image_id": image}], [{"instances": instances}])
        evaluator.evaluate()
        return evaluator.curves[task]

    return call


def images_of(truth: Any, results: Path) -> list[tuple[int, Any]]:
    """Predictions of each image as a model gives them."""
    import torch

    from d2_ops import host
    from d2_structures import Boxes, Instances, RLEMasks

    columns = host.read_coco_results(results.read_bytes())
    assert columns is not None
    masks = None if columns.masks is None else host.unpack_rles(columns.masks)
    contiguous = {category: number for number, category in enumerate(truth.category_ids)}
    predictions = []
    for image, entry in truth.coco.imgs.items():
        rows = np.flatnonzero(columns.images == image)
        size = entry["height"], entry["width"]
        instances = Instances(size)
        boxes = np.zeros((len(rows), 4)) if columns.boxes is None else columns.boxes[rows]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        instances.pred_boxes = Boxes(torch.from_numpy(corners).double())
        instances.scores = torch.from_numpy(columns.scores[rows])
        classes = [contiguous[category] for category in columns.categories[rows].tolist()]
        instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
        if masks is not None:
            instances.pred_masks = RLEMasks([masks[row] for row in rows], size)
        predictions.append((image, instances))
    return predictions


def of_peer(
    name: str, task: str, source: str, files: tuple[Path, Path]
) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """What makes the peer's input, and what makes the table of it."""
    from d2_eval.coco import CocoGroundTruth

    coco = import_module(PEERS[name].coco)
    evaluator = getattr(import_module(PEERS[name].module), PEERS[name].evaluator)

    def call(truth: Any, results: Any) -> Any:
        run = evaluator(truth, truth.loadRes(results), task)
        run.evaluate()
        run.accumulate()
        run.summarize()
        return run.eval

    if source == "files":
        return lambda: None, lambda _: call(coco.COCO(str(files[0])), str(files[1]))
    ours, loaded = CocoGroundTruth.load(files[0]), coco.COCO(str(files[0]))
    predictions = images_of(ours, files[1])
    return (
        lambda: entries_of(predictions, ours.category_ids, task),
        lambda entries: call(loaded, entries),
    )


def entries_of(
    predictions: list[tuple[int, Any]], categories: Sequence[int], task: str
) -> list[Any]:
    """Predictions in COCO's result format; peers would take the area of boxes beside masks."""
    from d2_eval import instances_to_coco_json

    entries = [one for image, found in predictions for one in instances_to_coco_json(found, image)]
    for entry in entries:
        entry["category_id"] = categories[entry["category_id"]]
        if task == "segm":
            del entry["bbox"]
    return entries


def measure_here(name: str, task: str, source: str, folder: Path) -> None:
    """Print what a call costs here; keep its arrays."""
    files = folder / f"truth_{task}.json", folder / f"results_{task}.json"
    with contextlib.redirect_stdout(io.StringIO()):
        if name == "d2":
            call = of_ours(task, source, files)
            make, measure = (lambda: None), (lambda _: call())
        else:
            make, measure = of_peer(name, task, source, files)
        begin = clocks()
        made = make()
        between = clocks()
        found = measure(made)
        cost = Cost(*(clocks() - begin), *(clocks() - between), _paired.memory_mib())
    read = (lambda key: getattr(found, key)) if name == "d2" else found.__getitem__
    np.savez(folder / f"{name}_{task}_{source}.npz", **{key: read(key) for key in ARRAYS})
    print(json.dumps(cost))


def clocks() -> np.ndarray:
    """Seconds by the clock and of all processors."""
    return np.array([time.perf_counter(), time.process_time()])


def measured(name: str, task: str, source: str, folder: Path) -> Cost:
    command = [sys.executable, __file__, "--one", name, task, source, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Cost(*json.loads(output.splitlines()[-1]))


def differing(name: str, task: str, source: str, folder: Path) -> list[str]:
    """Which arrays of ours differ from a peer's in any bit."""
    with (
        np.load(folder / f"d2_{task}_{source}.npz") as ours,
        np.load(folder / f"{name}_{task}_{source}.npz") as peer,
    ):
        return [
            key
            for key in ARRAYS
            if not np.array_equal(ours[key], peer[key].reshape(ours[key].shape))
        ]


def rows_of_earlier_runs(
    path: Path, images: int, environment: dict[str, object], tasks: Sequence[str]
) -> dict[str, Any]:
    """What stands in the file of other tasks, if it was measured in the same environment."""
    if not path.exists():
        return {}
    record = json.loads(path.read_text())
    same = {**record["environment"], "date": None} == {**environment, "date": None}
    if not same or record["images"] != images:
        return {}
    others = [shapes for task, shapes in TASKS.items() if task not in tasks]
    return {row: value for row, value in record["rows"].items() if row.split()[0] in others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="of peers slower than a minute")
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, task, source, folder = arguments.one
        measure_here(name, task, source, Path(folder))
        return
    names = ["d2", *(name for name in arguments.peers if installed(name))]
    environment = _paired.environment(("numpy", "torch", *PEERS))
    path = _paired.RESULTS / "eval-coco-tables.json"
    rows = rows_of_earlier_runs(path, arguments.images, environment, arguments.tasks)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        truth, found, scores = scene(arguments.images)
        for task in arguments.tasks:
            for_peers(truth, found, scores, task, folder)
        for task in arguments.tasks:
            shapes = TASKS[task]
            for source in ("files", "memory"):
                samples: dict[str, list[Cost]] = {name: [] for name in names}
                for done in range(arguments.rounds):
                    for name in names if done % 2 == 0 else reversed(names):
                        past = samples[name]
                        if past and past[0].seconds > 60 and len(past) >= arguments.slow_rounds:
                            continue
                        past.append(measured(name, task, source, folder))
                for name, values in samples.items():
                    columns = dict(zip(Cost._fields, zip(*values, strict=True), strict=True))
                    peaks = columns.pop("peak_mib")
                    row = f"{shapes} from {source}: {name}"
                    rows[row] = {
                        **{field: statistics.median(column) for field, column in columns.items()},
                        "peak_mib": max(peaks),
                        "rounds": len(values),
                        "differs_in": differing(name, task, source, folder),
                    }
                    print(f"{row:<44} {rows[row]}", flush=True)
                record = {
                    "topic": "eval-coco-tables",
                    "unit": "seconds, median; MiB, most",
                    "images": arguments.images,
                    "environment": environment,
                    "rows": rows,
                }
                path.write_text(json.dumps(record, indent=2) + "\n")
    wrong = {row: value for row, value in rows.items() if value["differs_in"]}
    assert not any("pycocotools" in row for row in wrong), wrong


if __name__ == "__main__":
    main()
