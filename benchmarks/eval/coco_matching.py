"""COCO matching and accumulation, 5 000 images, 36 000 ground truths, 500 000 detections.

Ours from arrays in memory; the peers from files that they have loaded, since that is how they take
data. Loading is not timed. Peers that are not installed are left out.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from _paired import measure_pairs, report

from d2_ops import host

IMAGES, CATEGORIES, OBJECTS, PER_IMAGE = 5000, 80, 36_000, 100
HEIGHT, WIDTH = 480, 640

# How each peer's COCO and COCOeval are imported.
PEERS = {
    "hotcoco": ("hotcoco", "hotcoco"),
    "ultrafast-pycocotools": ("ultrafast_pycocotools", "ultrafast_pycocotools"),
    "faster-coco-eval": ("faster_coco_eval", "faster_coco_eval"),
    "pycocotools": ("pycocotools.coco", "pycocotools.cocoeval"),
}
FASTER_EVALUATOR = "COCOeval_faster"


class Objects(NamedTuple):
    images: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray  # x, y, width, height
    masks: list[host.RLE]


def octagon(box: np.ndarray) -> host.RLE:
    x, y, w, h = box
    steps = np.array([0.3, 0, 0.7, 0, 1, 0.3, 1, 0.7, 0.7, 1, 0.3, 1, 0, 0.7, 0, 0.3])
    return host.polygons_to_rle([(steps.reshape(-1, 2) * (w, h) + (x, y)).ravel()], HEIGHT, WIDTH)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(8), np.log(350), (count, 2)))
    return within_image(np.concatenate([rng.uniform(0, (WIDTH, HEIGHT), (count, 2)), sides], 1))


def within_image(boxes: np.ndarray) -> np.ndarray:
    x1y1 = np.clip(boxes[:, :2], 0, (WIDTH - 4, HEIGHT - 4))
    sides = np.minimum(np.maximum(boxes[:, 2:], 2), (WIDTH, HEIGHT) - x1y1)
    return np.concatenate([x1y1, sides], 1).round(2)


def scene() -> tuple[Objects, Objects, np.ndarray]:
    """Ground truths, detections (half of them beside a ground truth) and the latter's scores."""
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, OBJECTS)
    truth = Objects(
        np.sort(rng.integers(IMAGES, size=OBJECTS)),
        np.minimum(rng.geometric(0.05, OBJECTS) - 1, CATEGORIES - 1),  # a few are frequent
        boxes,
        [octagon(box) for box in boxes],
    )
    count = IMAGES * PER_IMAGE
    images = np.repeat(np.arange(IMAGES), PER_IMAGE)
    first = np.searchsorted(truth.images, images)
    present = np.searchsorted(truth.images, images, "right") - first
    beside = (rng.random(count) < 0.5) & (present > 0)
    model = np.minimum(first + (rng.random(count) * present).astype(int), OBJECTS - 1)
    jitter = truth.boxes[model] * rng.normal(1, 0.08, (count, 4))
    found = np.where(beside[:, None], within_image(jitter), random_boxes(rng, count))
    same = beside & (rng.random(count) < 0.9)
    categories = np.where(same, truth.categories[model], rng.integers(CATEGORIES, size=count))
    scores = np.where(beside, rng.beta(4, 2, count), rng.beta(1, 4, count)).round(4)
    return truth, Objects(images, categories, found, [octagon(box) for box in found]), scores


def for_peers(
    truth: Objects, found: Objects, scores: np.ndarray, task: str, folder: Path
) -> tuple[Path, Path]:
    """The same as annotation and result file."""

    def entries(objects: Objects) -> Iterator[dict[str, Any]]:
        boxes = objects.boxes.tolist()
        for i, (image, category) in enumerate(
            zip(objects.images.tolist(), objects.categories.tolist(), strict=True)
        ):
            entry = {"image_id": image + 1, "category_id": category + 1}
            if task == "segm":
                mask = objects.masks[i]
                entry["segmentation"] = {**mask, "counts": mask["counts"].decode()}
            if task == "bbox" or objects is truth:
                entry["bbox"] = boxes[i]
            yield entry

    annotations = [
        {**entry, "id": i + 1, "iscrowd": 0, "area": area}
        for i, (entry, area) in enumerate(zip(entries(truth), areas(truth, task), strict=True))
    ]
    images = [{"id": i + 1, "height": HEIGHT, "width": WIDTH} for i in range(IMAGES)]
    categories = [{"id": i + 1, "name": f"class {i}"} for i in range(CATEGORIES)]
    results = [
        {**entry, "score": score}
        for entry, score in zip(entries(found), scores.tolist(), strict=True)
    ]
    truth_file, results_file = folder / f"truth_{task}.json", folder / f"results_{task}.json"
    truth_file.write_text(
        json.dumps({"images": images, "categories": categories, "annotations": annotations})
    )
    results_file.write_text(json.dumps(results))
    return truth_file, results_file


def areas(objects: Objects, task: str) -> list[float]:
    if task == "segm":
        return [float(area) for area in host.rle_area(objects.masks)]
    return (objects.boxes[:, 2] * objects.boxes[:, 3]).tolist()


def peer_call(name: str, files: tuple[Path, Path], task: str) -> Callable[[], Any] | None:
    """Matching and accumulation by a peer that has loaded the files; None if not installed."""
    try:
        coco, evaluation = (import_module(module) for module in PEERS[name])
    except ImportError:
        print(f"{name} is not installed and left out")
        return None
    evaluator = getattr(evaluation, FASTER_EVALUATOR, None) or evaluation.COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(files[0]))
        found = truth.loadRes(str(files[1]))

    def call() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            run = evaluator(truth, found, task)
            run.evaluate()
            run.accumulate()
        return run

    return call


def our_call(
    truth: Objects, found: Objects, scores: np.ndarray, task: Literal["bbox", "segm"]
) -> Callable[[], host.CocoPrecisionRecall]:
    wanted = host.CocoGroundTruths(
        images=truth.images,
        categories=truth.categories,
        areas=np.array(areas(truth, task)),
        boxes=truth.boxes,
        masks=host.pack_rles(truth.masks),
    )
    given = host.CocoDetections(
        images=found.images,
        categories=found.categories,
        scores=scores,
        boxes=found.boxes,
        masks=host.pack_rles(found.masks),
    )
    return lambda: host.coco_evaluate(wanted, given, task, num_categories=CATEGORIES)


def main() -> None:
    truth, found, scores = scene()
    with tempfile.TemporaryDirectory() as folder:
        for task in ("bbox", "segm"):
            ours = our_call(truth, found, scores, task)
            files = for_peers(truth, found, scores, task, Path(folder))
            for name in PEERS:
                peer = peer_call(name, files, task)
                if peer is None:
                    continue
                slow = name == "pycocotools"
                rows = {task: measure_pairs(ours, peer, rounds=3 if slow else 7, seconds=30)}
                report(f"eval-coco-matching-{task}-{name}", rows, name, equal=equal(ours(), peer()))


def equal(ours: host.CocoPrecisionRecall, peer: Any) -> dict[str, bool]:
    """Whether our arrays are the peer's, to the last bit."""
    return {
        name: bool(np.array_equal(value, np.asarray(peer.eval[name]).reshape(value.shape)))
        for name, value in ours._asdict().items()
    }


if __name__ == "__main__":
    main()
