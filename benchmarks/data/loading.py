"""Reading a large COCO file into standard dataset dicts beside pycocotools, in processes in turn.

The file has the size of COCO's train2017: 118 287 images and 860 001 annotations with polygons. The
peer reads it with pycocotools and makes of its index what detectron2's documentation describes: a
dict for each image, boxes with their mode, categories counted from 0, polygons of fewer than three
points left out. Counted are the seconds of processor time and the largest memory of the process,
over what it had before.

    PYTHONPATH=benchmarks python benchmarks/data/loading.py [--rounds 3]
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _paired import RESULTS, environment, memory_mib
from memory import write_coco

from d2_data.datasets import load_coco_json
from d2_structures import BoxMode

IMAGES, ANNOTATIONS = 118_287, 860_001


def ours(json_file: str) -> list[dict[str, Any]]:
    return load_coco_json(json_file, "images", "large")


def with_pycocotools(json_file: str) -> list[dict[str, Any]]:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(json_file)
    contiguous = {category: number for number, category in enumerate(sorted(api.getCatIds()))}
    records = []
    for image in api.loadImgs(sorted(api.imgs)):
        annotations = []
        for entry in api.imgToAnns[image["id"]]:
            fields = ("iscrowd", "bbox", "keypoints", "category_id")
            annotation = {field: entry[field] for field in fields if field in entry}
            outline = entry.get("segmentation")
            if isinstance(outline, list):
                outline = [p for p in outline if len(p) % 2 == 0 and len(p) >= 6]
                if not outline:
                    continue
            if outline is not None:
                annotation["segmentation"] = outline
            annotation["bbox_mode"] = BoxMode.XYWH_ABS
            annotation["category_id"] = contiguous[entry["category_id"]]
            annotations.append(annotation)
        records.append(
            {
                "file_name": os.path.join("images", image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image["id"],
                "annotations": annotations,
            }
        )
    return records


LOADERS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "d2": ours,
    "pycocotools": with_pycocotools,
}


def load(name: str, json_file: str) -> None:
    """Load in this process; prints what it took."""
    before = memory_mib("VmRSS")
    begin = time.process_time()
    records = LOADERS[name](json_file)
    seconds = time.process_time() - begin
    count = sum(len(record["annotations"]) for record in records)
    figures = {
        "seconds": seconds,
        "peak_mib": memory_mib("VmHWM") - before,
        "kept_mib": memory_mib("VmRSS") - before,
        "records": [len(records), count],
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--annotations", type=int, default=ANNOTATIONS)
    parser.add_argument("--load", nargs=2)
    arguments = parser.parse_args()
    if arguments.load:
        load(*arguments.load)
        return
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in LOADERS}
    with tempfile.TemporaryDirectory() as folder:
        json_file = Path(folder, "large.json")
        write_coco(json_file, IMAGES * arguments.annotations // ANNOTATIONS, arguments.annotations)
        for _ in range(arguments.rounds):
            for name in LOADERS:
                command = [sys.executable, __file__, "--load", name, str(json_file)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                figures[name].append(json.loads(output))
    if len({tuple(run["records"]) for runs in figures.values() for run in runs}) != 1:
        raise RuntimeError(f"the two read different records: {figures}")
    medians = {
        name: {
            key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "records"
        }
        for name, runs in figures.items()
    }
    for name, median in medians.items():
        print(
            f"{name:12} {median['seconds']:5.1f} s, at most {median['peak_mib']:.0f} MiB, "
            f"{median['kept_mib']:.0f} MiB kept"
        )
    for key in ("seconds", "peak_mib"):
        ratio = medians["d2"][key] / medians["pycocotools"][key]
        print(f"{key}: {ratio:.2f} times the peer's")
    record = {
        "topic": "data-loading",
        "records": figures["d2"][0]["records"],
        "medians": medians,
        "runs": figures,
        "environment": environment(("pycocotools", "numpy")),
    }
    (RESULTS / "data-loading.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
