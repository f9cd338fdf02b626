"""LVIS' table from files: 1 203 classes, 300 detections per image, beside lvis-api.

lvis 0.5.3 asks for names that NumPy has dropped; they are given back here before it is imported.
Precision and recall have to be equal to its own in every bit.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _paired import measure_pairs, report
from coco_matching import HEIGHT, WIDTH, random_boxes

CATEGORIES, DETECTIONS_PER_IMAGE, OBJECTS_PER_IMAGE = 1203, 300, 12


def write_files(image_count: int, folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    count = image_count * OBJECTS_PER_IMAGE
    boxes, categories = random_boxes(rng, count).tolist(), rng.integers(1, CATEGORIES + 1, count)
    images, annotations, results = [], [], []
    for image in range(1, image_count + 1):
        rows = range((image - 1) * OBJECTS_PER_IMAGE, image * OBJECTS_PER_IMAGE)
        present = categories[rows.start : rows.stop].tolist()
        absent = sorted({*rng.integers(1, CATEGORIES + 1, 40).tolist()} - {*present})
        images.append(
            {"id": image, "height": HEIGHT, "width": WIDTH, "neg_category_ids": absent}
            | {"not_exhaustive_category_ids": present[:2]}
        )
        for row, category in zip(rows, present, strict=True):
            x, y, w, h = box = boxes[row]
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {"id": row + 1, "image_id": image, "category_id": category, "bbox": box}
                | {"area": w * h, "segmentation": [outline]}
            )
        others = random_boxes(rng, DETECTIONS_PER_IMAGE).tolist()
        scores = rng.random(DETECTIONS_PER_IMAGE).round(6).tolist()
        guesses = rng.choice([*present, *absent], DETECTIONS_PER_IMAGE).tolist()
        for place, (box, score, category) in enumerate(zip(others, scores, guesses, strict=True)):
            if place < len(present):
                jitter = np.array(boxes[rows[place]]) * rng.normal(1, 0.04, 4)
                box, category = jitter.clip(1).round(2).tolist(), present[place]
            results.append(
                {"image_id": image, "category_id": category, "bbox": box, "score": score}
            )
    names = [
        {"id": i, "name": f"class {i}", "frequency": "rcf"[i % 3], "image_count": 1}
        for i in range(1, CATEGORIES + 1)
    ]
    content = {"images": images, "annotations": annotations, "categories": names}
    files = folder / "truth.json", folder / "results.json"
    for file, what in zip(files, (content, results), strict=True):
        file.write_text(json.dumps(what))
    return files


def lvis_api() -> Any:
    for name, kind in (("float", float), ("int", int), ("bool", bool)):
        if name not in vars(np):
            setattr(np, name, kind)
    if not hasattr(np, "in1d"):
        setattr(np, "in1d", np.isin)  # noqa: B010  # a name that NumPy has dropped
    import lvis

    logging.getLogger("lvis").setLevel(logging.ERROR)
    return lvis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    from d2_eval import evaluate_lvis_results

    try:
        api = lvis_api()
    except ImportError:
        print("lvis is not installed: there is nothing to compare with")
        return
    with tempfile.TemporaryDirectory() as folder:
        truth, found = write_files(arguments.images, Path(folder))

        def peer() -> Any:
            run = api.LVISEval(str(truth), str(found), "bbox")
            run.evaluate()
            run.accumulate()
            return run.eval

        def ours() -> Any:
            return evaluate_lvis_results(truth, found, "bbox")

        curves, theirs = ours(), peer()
        for key in ("precision", "recall"):
            value = getattr(curves, key)[..., 0]
            assert np.array_equal(value, theirs[key]), f"{key} differs"
        rows = {
            f"boxes from files, {arguments.images} images": measure_pairs(
                ours, peer, rounds=3, seconds=0
            )
        }
    report("eval-lvis-tables", rows, "lvis-api", images=arguments.images)


if __name__ == "__main__":
    main()
