"""Step: the training loop on generated data: images per second, and the share of it spent waiting.

Mask R-CNN in bfloat16; loading processes read, augment and collate as in any training. The model is
untrained, so fewer regions are positive than later: `models.py` has the rate of a trained one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from detectors import FULL, TINY, build
from device_timing import choose_device
from operators import torchvision_or_none
from record import note

from d2_data import DatasetCatalog, DatasetMapper, build_detection_train_loader
from d2_data.datasets import coco_folder
from d2_data.datasets.shapes import generate_shapes
from d2_data.transforms import RandomFlip, ResizeShortestEdge
from d2_engine import AMPTrainer, HookBase

SHORT_EDGES = (640, 672, 704, 736, 768, 800)


class Clock(HookBase):
    """When each iteration ended; the losses read in it have waited for the device."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_step(self) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def loader(folder: Path, batch: int, workers: int, dry: bool) -> Iterable[Any]:
    """Batches of a generated dataset, resized and flipped as published configs do."""
    size = (48, 64) if dry else (640, 960)
    generate_shapes(
        folder, 4 if dry else 64, image_size=size, objects_per_image=(4, 10), num_workers=workers
    )
    name = coco_folder(folder / "instances.json", folder / "images")
    edges = (64,) if dry else SHORT_EDGES
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[ResizeShortestEdge(edges, 1333, "choice"), RandomFlip()],
        image_format="RGB",
        use_instance_mask=True,
    )
    return build_detection_train_loader(
        DatasetCatalog.get(name),
        mapper=mapper,
        total_batch_size=batch,
        num_workers=workers,
        seed=0,
    )


def measure(folder: Path, dry: bool) -> dict[str, Any]:
    """The figure of the loop: iterations after the first ones, which start the workers."""
    device = choose_device(dry)
    workers = 1 if dry else min(12, (os.cpu_count() or 2) - 2)
    batch, first, last = (2, 1, 3) if dry else (16, 5, 30)
    batches = loader(folder, batch, workers, dry)
    scale = TINY if dry else FULL
    model = build("mask_rcnn", scale, device, torchvision_or_none())[0].model
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-12, momentum=0.9)
    trainer = AMPTrainer(model, batches, optimizer, precision=torch.bfloat16)
    clock = Clock()
    trainer.register_hooks([clock])
    trainer.train(0, last)
    seconds = clock.ends[last - 1] - clock.ends[first - 1]
    waited = sum(v for v, i in trainer.storage.history("data_time").values() if i >= first)
    return {
        "step": "training",
        "name": "mask_rcnn",
        "mode": "training",
        "what": f"bfloat16, batch {batch}, {workers} loading processes, generated pictures",
        "ours": seconds / (last - first),
        "peer": None,
        "ratio": None,
        "images_per_second": batch * (last - first) / seconds,
        "share_waiting_for_data": waited / seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true")
    dry = parser.parse_args().dry
    with tempfile.TemporaryDirectory() as folder:
        figure = measure(Path(folder) / "shapes", dry)
    note("figure", **figure)
    rate, waiting = figure["images_per_second"], figure["share_waiting_for_data"]
    print(f"{rate:.1f} images/s, {waiting:.0%} of the time waiting for data")
    return 0


if __name__ == "__main__":
    sys.exit(main())
