"""Time whole detectors: optimised for inference, as they are, in bfloat16, and torchvision's.

Torchvision's have the same weights, which are random; every score counts, so that each model keeps
as many detections as it may. All calls of a model alternate within one run. Beside the ratios
stands the percentage of the limit: the model's floating-point operations over the best rate that
one 3×3 convolution of 256 channels reaches between the calls.

    PYTHONPATH=benchmarks python benchmarks/modeling/whole_models.py [NAME ...] [--train] [--gpu]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _paired import RESULTS, environment, memory_mib
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from d2_config import instantiate
from d2_engine import model_zoo
from d2_modeling import build_model, detector_from_torchvision, optimize_for_inference
from d2_structures import BitMasks, Boxes, Instances, Keypoints

HEIGHT, WIDTH = 480, 640
OBJECTS = 8
TORCHVISION = {
    "faster": "fasterrcnn_resnet50_fpn",
    "mask": "maskrcnn_resnet50_fpn",
    "keypoint": "keypointrcnn_resnet50_fpn",
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
}
ZOO = {
    "cascade": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "panoptic": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "vitdet": "projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py",
}
Calls = dict[str, Callable[[], Any]]


def pair(name: str, device: str) -> tuple[nn.Module, nn.Module | None]:
    """Our model, and torchvision's with the same weights where it has one."""
    torch.manual_seed(0)
    if name in ZOO:
        if ZOO[name].endswith(".py"):
            return instantiate(model_zoo.get_config(ZOO[name]).model).to(device), None
        cfg = model_zoo.get_config(ZOO[name])
        cfg.MODEL.DEVICE, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = device, 0.0
        return build_model(cfg), None
    from torchvision.models import detection

    lowest = "score_thresh" if name in ("retinanet", "fcos") else "box_score_thresh"
    peer = getattr(detection, TORCHVISION[name])(
        weights=None, weights_backbone=None, min_size=HEIGHT, max_size=WIDTH, **{lowest: 0.0}
    )
    ours: Any = detector_from_torchvision(peer.state_dict()).to(device)
    (ours if lowest == "score_thresh" else ours.roi_heads.box_predictor).test_score_thresh = 0.0
    return ours, peer.to(device)


def targets(device: str) -> tuple[Instances, dict[str, torch.Tensor]]:
    """The same objects for ours and for torchvision."""
    random = torch.Generator().manual_seed(0)
    sides = (torch.rand(OBJECTS, 2, generator=random) * 0.3 + 0.1) * HEIGHT
    corner = torch.rand(OBJECTS, 2, generator=random) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    boxes, classes = torch.cat([corner, corner + sides], 1), torch.zeros(OBJECTS, dtype=torch.int64)
    masks = torch.zeros(OBJECTS, HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    points = torch.cat(
        [(corner + sides / 2)[:, None].expand(-1, 17, -1), torch.full((OBJECTS, 17, 1), 2.0)], 2
    )
    ours = Instances(
        (HEIGHT, WIDTH),
        gt_boxes=Boxes(boxes),
        gt_classes=classes,
        gt_masks=BitMasks(masks),
        gt_keypoints=Keypoints(points),
    )
    theirs = {"boxes": boxes, "labels": classes + 1, "masks": masks.byte(), "keypoints": points}
    return ours.to(device), {key: value.to(device) for key, value in theirs.items()}


def calls_of(name: str, device: str, *, train: bool) -> tuple[Calls, nn.Module, list[Any]]:
    """What to time by name, the model to count, and its input."""
    model, peer = pair(name, device)
    image = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8, device=device)
    objects, their_objects = targets(device)
    entry = [{"image": image, "height": HEIGHT, "width": WIDTH, "instances": objects}]
    entry[0]["sem_seg"] = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64, device=device)
    if not train:
        models = {"optimised": optimize_for_inference(model), "as it is": model.eval()}
        # Where the processor has none, this is the first one again, as the log says.
        models["bfloat16"] = optimize_for_inference(model, dtype=torch.bfloat16)
        calls: Calls = {key: lambda one=one: one(entry) for key, one in models.items()}
        if peer is not None:
            peer.eval()
            calls["torchvision"] = lambda: peer([image / 255])
        return calls, model, entry
    model.train().to(memory_format=torch.channels_last)
    calls = {"channels last": lambda: _step(model, lambda: model(entry))}
    if peer is not None:
        peer.train()
        calls["torchvision"] = lambda: _step(peer, lambda: peer([image / 255], [their_objects]))
    return calls, model, entry


def _step(model: nn.Module, losses: Callable[[], dict[str, torch.Tensor]]) -> None:
    model.zero_grad()
    sum(losses().values()).backward()


def measure(calls: Calls, synchronize: Callable[[], Any], rounds: int) -> dict[str, list[float]]:
    """Median seconds on the clock and of the processor, by name."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for done in range(rounds + 1):
        for name in list(calls) if done % 2 else list(reversed(calls)):
            synchronize()
            clock, processor = time.perf_counter(), time.process_time()
            calls[name]()
            synchronize()
            if done:  # the first is for warming up
                samples[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        + [min(clock for clock, _ in rows)]
        for name, rows in samples.items()
    }


def convolution(device: str) -> tuple[Calls, float]:
    """The limit: one convolution in both formats, and its floating-point operations."""
    weight = torch.randn(256, 256, 3, 3, device=device)
    maps = torch.randn(1, 256, HEIGHT // 4, WIDTH // 4, device=device)
    formats = {"plain": torch.contiguous_format, "last": torch.channels_last}
    operands = {
        name: (maps.contiguous(memory_format=order), weight.contiguous(memory_format=order))
        for name, order in formats.items()
    }
    calls: Calls = {
        f"convolution {name}": lambda pair=pair: torch.conv2d(*pair, padding=1)
        for name, pair in operands.items()
    }
    return calls, 2.0 * 9 * 256 * 256 * (HEIGHT // 4) * (WIDTH // 4)


def peak_memory(name: str, key: str, *, train: bool) -> float:
    """Mebibytes of a process that makes the models and runs this call alone, three times."""
    command = [sys.executable, __file__, name, "--peak-of", key, *(["--train"] if train else [])]
    return float(subprocess.check_output(command, text=True).split()[-1])


def print_peak(name: str, key: str, *, train: bool) -> None:
    """Print the peak of this process's memory after a call is made three times."""
    calls, _, _ = calls_of(name, "cpu", train=train)
    with torch.set_grad_enabled(train):
        for _ in range(3):
            calls[key]()
    print(memory_mib())


def run(name: str, device: str, *, train: bool, rounds: int) -> dict[str, Any]:
    """The figures of a model."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    calls, model, entry = calls_of(name, device, train=train)
    limits, operations = convolution(device)
    with torch.set_grad_enabled(train), FlopCounterMode(display=False) as counter:
        if train:
            _step(model, lambda: model(entry))
        else:
            model(entry)
    with torch.set_grad_enabled(train):
        times = measure({**calls, **limits}, synchronize, rounds)
    rate = operations / min(times[key][2] for key in limits)
    first = next(iter(calls))
    figure = {
        "seconds": {key: times[key][0] for key in calls},
        "processor_seconds": {key: times[key][1] for key in calls},
        "ratios": {key: times[key][0] / times[first][0] for key in calls if key != first},
        "gigaflop": counter.get_total_flops() / 1e9,
        "limit_gigaflop_per_second": rate / 1e9,
        "percent_of_limit": {
            key: 100 * counter.get_total_flops() / rate / times[key][0] for key in calls
        },
    }
    if device == "cpu":
        figure["peak_mib"] = {key: peak_memory(name, key, train=train) for key in calls}
    peaks = figure.get("peak_mib", {})
    parts = [
        f"{key} {times[key][0]:.2f} s (processor {times[key][1]:.2f} s,"
        f" {figure['percent_of_limit'][key]:.0f} % of the limit, {peaks.get(key, 0):.0f} MiB)"
        for key in calls
    ]
    ratios = ", ".join(f"{key} {ratio:.2f}x" for key, ratio in figure["ratios"].items())
    print(f"{name}: {'; '.join(parts)}; {ratios}", flush=True)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*TORCHVISION, *ZOO]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--train", action="store_true", help="time a step of training instead")
    parser.add_argument("--gpu", action="store_true", help="on the CUDA device")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))
    if options.peak_of:
        print_peak(options.names[0], options.peak_of, train=options.train)
        return
    device = "cuda" if options.gpu else "cpu"
    topic = (
        "modeling-whole-models"
        + ("-training" if options.train else "")
        + ("-gpu" if options.gpu else "")
    )
    path = RESULTS / f"{topic}.json"
    rows = json.loads(path.read_text())["rows"] if options.names and path.exists() else {}
    for name in options.names or known:
        rows[name] = run(name, device, train=options.train, rounds=options.rounds)
        record = {
            "topic": topic,
            "image": [3, HEIGHT, WIDTH],
            "threads": torch.get_num_threads(),
            "environment": environment(),
            "rows": rows,
        }
        path.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
