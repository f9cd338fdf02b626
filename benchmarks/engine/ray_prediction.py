"""Predict on small pictures with two workers of Ray Data beside the plain loop, in one run.

Speed is that of a small Mask R-CNN on pictures of 64 pixels. The loop is what one would write:
read, predict, write a row of Parquet, on one thread as each worker has. Pictures per second of the
workers count from the first part that is ready to the last; the start is told apart.

Memory is the largest sum over this process and the workers, of what they do not share, with a
thousand and with twenty thousand rows of a Parquet list. There the model is one convolution with an
instance for each picture, so that the run takes minutes. Ray's own processes and its store are left
out: their size is a setting.

    PYTHONPATH=benchmarks python benchmarks/engine/ray_prediction.py [MANY]
"""

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from _paired import environment
from torch import nn

from d2_data.datasets.shapes import generate_shapes
from d2_data.transforms import AugmentationList
from d2_engine.batch import output, parts, pictures, predict, worker
from d2_engine.defaults import DefaultPredictor
from d2_engine.model_zoo import get_config_file
from d2_engine.run import Preprocessing, load_plan
from d2_engine.run.model import build_model
from d2_structures import Boxes, Instances

FEW, MANY = 1_000, 20_000
IN_LOOP, WITH_RAY = 80, 400
PART, SMALL_PART = 250, 20
RESULT = Path(__file__).parents[1] / "results" / "engine-ray-prediction.json"


def make_predictor() -> DefaultPredictor:
    config = get_config_file("quickstart/mask_rcnn_shapes.py")
    small = ["train.device=cpu", "dataloader.test.mapper.augmentations.0.short_edge_length=32"]
    small.append("model.proposal_generator.post_nms_topk=[20,10]")
    small.append("+model.roi_heads.box_predictor.test_topk_per_image=3")
    plan = load_plan(config, small)
    torch.manual_seed(0)
    return DefaultPredictor.of(build_model(plan).eval(), plan.preprocessing)


class Light(nn.Module):
    """One convolution, and one instance with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        (record,) = batch
        mask = self.layer(record["image"].float()[None])[0, 0] > 0
        found = Instances(tuple(mask.shape))
        found.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 64.0, 64.0]]))
        found.scores = torch.tensor([0.9])
        found.pred_classes = torch.tensor([0])
        found.pred_masks = mask[None]
        return [{"instances": found}]


def make_light() -> DefaultPredictor:
    nothing = Preprocessing(augmentations=lambda: AugmentationList([]), image_format="BGR")
    return DefaultPredictor.of(Light().eval(), nothing)


class Memory:
    """The largest memory of this process and the workers while the block runs, in MiB."""

    def __enter__(self) -> "Memory":
        self.largest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.largest = max(self.largest, _resident_mib())


def _resident_mib() -> float:
    """Memory that is not shared: Ray's store of objects is, whose size is fixed."""
    workers = [
        path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if b"MapWorker" in _read(path)
    ]
    rollups = [_read(path / "smaps_rollup") for path in (Path("/proc/self"), *workers)]
    return (
        sum(
            int(line.split()[1])
            for rollup in rollups
            for line in rollup.splitlines()
            if line.startswith((b"Private_Clean", b"Private_Dirty"))
        )
        / 2**10
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def plain_loop(listing: Path, folder: Path) -> float:
    """Pictures per second."""
    torch.set_num_threads(1)
    work = worker.Worker(make_predictor, str(folder), 0.05, 1)
    (part, *_) = parts.find_parts([str(listing)], IN_LOOP)
    begin = time.perf_counter()
    rows = map(work._row, pictures.read_pictures(part))
    output.write_part(folder / "loop.parquet", rows, [])
    return IN_LOOP / (time.perf_counter() - begin)


def with_ray(
    make: Callable[[], DefaultPredictor], listing: Path, folder: Path, count: int, part: int
) -> dict[str, float]:
    begin = time.time()
    with Memory() as memory:
        predicted = predict([str(listing)], folder, make, workers=2, pictures_per_part=part)
    if (predicted.pictures, predicted.failed) != (count, 0):
        raise RuntimeError(f"wanted {count} pictures, got {predicted}")
    ready = sorted(path.stat().st_mtime for path in folder.glob("part-*.parquet"))
    # Two parts are in work when the first is ready, on average half done.
    per_second = part * (len(ready) - 2) / (ready[-1] - ready[0])
    return {
        "pictures": count,
        "pictures_per_second": per_second,
        "seconds_to_first_part": ready[0] - begin,
        "largest_mib": memory.largest,
    }


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else MANY
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray writes it so; else others go first
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        generate_shapes(root / "shapes", 200, image_size=64, seed=0)
        paths = sorted(map(str, (root / "shapes" / "images").iterdir()))
        for count in (WITH_RAY, FEW, many):
            rows = [paths[i % len(paths)] for i in range(count)]
            pq.write_table(pa.table({"path": rows}), root / f"{count}.parquet")
        lists = {count: root / f"{count}.parquet" for count in (WITH_RAY, FEW, many)}
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
        loop = [plain_loop(lists[WITH_RAY], root)]
        fast = with_ray(make_predictor, lists[WITH_RAY], root / "fast", WITH_RAY, SMALL_PART)
        loop.append(plain_loop(lists[WITH_RAY], root))
        few = with_ray(make_light, lists[FEW], root / "few", FEW, PART)
        most = with_ray(make_light, lists[many], root / "many", many, PART)
        ray.shutdown()
    in_loop = sum(loop) / len(loop)
    result = {
        "topic": "engine-ray-prediction",
        "unit": "pictures per second; MiB of this process and two workers, at most",
        "speed": {
            "plain_loop": in_loop,
            "two_workers": fast["pictures_per_second"],
            "ratio": fast["pictures_per_second"] / in_loop,
            "seconds_to_first_part": fast["seconds_to_first_part"],
        },
        "memory": [few, most],
        "memory_ratio": most["largest_mib"] / few["largest_mib"],
        "environment": environment(("torch", "ray", "pyarrow")),
    }
    print(json.dumps(result, indent=2))
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
