"""COCO matching and accumulation: 5 000 images, 36 000 ground truths, 500 000 detections.

Ours from arrays in memory, once also from RLE dicts; the peers from files that they have loaded,
since that is how they take data. Loading is not timed. The slow peers get a tenth of the images.
Peers that are not installed are left out.
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
from _paired import Paired, measure_pairs, report

from d2_ops import host

CATEGORIES = 80
OBJECTS_PER_IMAGE, DETECTIONS_PER_IMAGE = 7.2, 100
HEIGHT, WIDTH = 480, 640


class Peer(NamedTuple):
    """Where its COCO and its evaluator are, and how many images it gets."""

    coco: str
    module: str
    evaluator: str
    images: int


PEERS = {
    "hotcoco": Peer("hotcoco", "hotcoco", "COCOeval", 5000),
    "ultrafast-pycocotools": Peer(
        "ultrafast_pycocotools", "ultrafast_pycocotools", "COCOeval", 5000
    ),
    "faster-coco-eval": Peer("faster_coco_eval", "faster_coco_eval", "COCOeval_faster", 500),
    "pycocotools": Peer("pycocotools.coco", "pycocotools.cocoeval", "COCOeval", 500),
}

Task = Literal["bbox", "segm"]
TASKS: dict[Task, str] = {"bbox": "boxes", "segm": "masks"}


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


def scene(image_count: int) -> tuple[Objects, Objects, np.ndarray]:
    """Ground truths, detections (half of them beside a ground truth) and the latter's scores."""
    rng = np.random.default_rng(0)
    object_count = round(image_count * OBJECTS_PER_IMAGE)
    boxes = random_boxes(rng, object_count)
    truth = Objects(
        np.sort(rng.integers(image_count, size=object_count)),
        np.minimum(rng.geometric(0.05, object_count) - 1, CATEGORIES - 1),  # a few are frequent
        boxes,
        [octagon(box) for box in boxes],
    )
    count = image_count * DETECTIONS_PER_IMAGE
    images = np.repeat(np.arange(image_count), DETECTIONS_PER_IMAGE)
    first = np.searchsorted(truth.images, images)
    present = np.searchsorted(truth.images, images, "right") - first
    beside = (rng.random(count) < 0.5) & (present > 0)
    model = np.minimum(first + (rng.random(count) * present).astype(int), object_count - 1)
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
    count = int(found.images.max()) + 1
    images = [{"id": i + 1, "height": HEIGHT, "width": WIDTH} for i in range(count)]
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


def peer_call(peer: Peer, files: tuple[Path, Path], task: str) -> Callable[[], Any]:
    """Matching and accumulation by a peer that has loaded the files."""
    coco = import_module(peer.coco)
    evaluator = getattr(import_module(peer.module), peer.evaluator)
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
    truth: Objects, found: Objects, scores: np.ndarray, task: Task, *, packed: bool = True
) -> Callable[[], host.CocoPrecisionRecall]:
    """Evaluation from arrays, or from RLE dicts where masks are not packed before."""
    pack = host.pack_rles if packed else list
    wanted = host.CocoGroundTruths(
        images=truth.images,
        categories=truth.categories,
        areas=np.array(areas(truth, task)),
        boxes=truth.boxes,
        masks=pack(truth.masks),
    )
    given = host.CocoDetections(
        images=found.images,
        categories=found.categories,
        scores=scores,
        boxes=found.boxes,
        masks=pack(found.masks),
    )
    return lambda: host.coco_evaluate(wanted, given, task, num_categories=CATEGORIES)


def equal(ours: host.CocoPrecisionRecall, peer: Any) -> bool:
    """Whether our arrays are the peer's, to the last bit."""
    return all(
        np.array_equal(value, np.asarray(peer.eval[name]).reshape(value.shape))
        for name, value in ours._asdict().items()
    )


def installed(name: str) -> bool:
    try:
        import_module(PEERS[name].coco)
    except ImportError:
        print(f"{name} is not installed and left out")
        return False
    return True


def main() -> None:
    names = [name for name in PEERS if installed(name)]
    rows: dict[str, Paired] = {}
    equals: dict[str, bool] = {}
    for images in sorted({PEERS[name].images for name in names}):
        truth, found, scores = scene(images)
        for task, shapes in TASKS.items():
            ours = our_call(truth, found, scores, task)
            with tempfile.TemporaryDirectory() as folder:
                files = for_peers(truth, found, scores, task, Path(folder))
                peers = {
                    name: peer_call(PEERS[name], files, task)
                    for name in names
                    if PEERS[name].images == images
                }
            for name, peer in peers.items():
                row = f"{shapes}, {images} images: {name}"
                rows[row] = measure_pairs(ours, peer, seconds=8)
                equals[row] = equal(ours(), peer())
                if task == "segm" and name == "hotcoco":
                    unpacked = our_call(truth, found, scores, task, packed=False)
                    rows[f"{row}, ours from dicts"] = measure_pairs(unpacked, peer, seconds=8)
    report("eval-coco-matching", rows, "peer", equal_to_the_last_bit=equals)


if __name__ == "__main__":
    main()
