"""Time exported detectors beside the eager models that they came from.

The models are of the zoo, with an R50-FPN and weights that are random but keep the size of
activations and whose scores differ: some 1 700 boxes of an image pass the score threshold, a few
times what trained weights let pass, so that all keep as many detections as they may. Each way to
run a model is called as a model is, a list of dicts in and `Instances` out. All ways alternate
within one run. Peak memory is that of a process of its own, which loads the file and calls it once.

    PYTHONPATH=benchmarks python benchmarks/export/latency.py [NAME ...] [--ways WAY ...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from _paired import RESULTS, environment, memory_mib
from torch import Tensor, nn

from d2_engine import model_zoo
from d2_modeling import build_model, optimize_for_inference
from d2_modeling.export import export, load_exported
from d2_modeling.layers import FrozenBatchNorm2d

HEIGHT, WIDTH = 480, 640
ZOO = {
    "mask": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "faster": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
}
IN_PYTHON = ("eager", "eager, optimised", "torch.compile")
FILES: dict[str, dict[str, str]] = {
    "torchscript-trace": {},
    "torch-export": {},
    "aotinductor": {},
    "onnx": {},
    "onnx float16": {"precision": "float16"},
    "onnx int8": {"precision": "int8"},
    "openvino": {},
    "openvino bfloat16": {"precision": "bfloat16"},
    "openvino int8": {"precision": "int8"},
}
WAYS = (*IN_PYTHON, *FILES)
PACKAGES = ("numpy", "torch", "onnxruntime", "openvino")
# Layers that start near zero, and how far from it they are put: scores that differ.
_UNSURE = {"cls_score": 0.2, "objectness_logits": 0.05, "bbox_pred": 0.01, "predictor": 0.01}
_CALIBRATION_IMAGES = 4
Entries = list[dict[str, Any]]


def detector(name: str) -> Any:
    """A model of the zoo with random weights, which finds as much as it may."""
    torch.manual_seed(0)
    cfg = model_zoo.get_config(ZOO[name])
    cfg.MODEL.DEVICE = "cpu"
    model: Any = build_model(cfg).eval()
    for part_name, part in model.named_modules():
        std = _UNSURE.get(part_name.rsplit(".", 1)[-1])
        if std is not None:
            nn.init.normal_(part.weight, std=std)
    hooks = [
        part.register_forward_pre_hook(_take_statistics)
        for part in model.modules()
        if isinstance(part, FrozenBatchNorm2d)
    ]
    with torch.no_grad():
        model(photos(1))
    for hook in hooks:
        hook.remove()
    return model


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    (x,) = inputs
    norm.running_mean.copy_(x.mean(dim=(0, 2, 3)))
    norm.running_var.copy_(x.var(dim=(0, 2, 3)))


def photos(count: int, seed: int = 0) -> Entries:
    """Images of smooth patches, in which there is something to see at every scale."""
    generator = torch.Generator().manual_seed(seed)
    entries = []
    for _ in range(count):
        image = torch.zeros(1, 3, HEIGHT, WIDTH)
        for cells in (4, 16, 64, 240):
            noise = torch.rand(1, 3, cells, cells, generator=generator)
            image += nn.functional.interpolate(noise, (HEIGHT, WIDTH), mode="bilinear")
        entries.append({"image": (image[0] * 63.75).to(torch.uint8)})
    return entries


def prepared(way: str, model: Any, folder: Path) -> Callable[[Entries], Any]:
    """What is called; files are written where they are not there yet."""
    if way == "eager":
        return model
    if way == "eager, optimised":
        return optimize_for_inference(model)
    if way == "torch.compile":
        return optimize_for_inference(model, compile=True)
    return load_exported(_written(way, model, folder), allow_unsafe=True)


def _written(way: str, model: Any, folder: Path) -> Path:
    kind = way.split()[0]
    path = folder / (way.replace(" ", "-") + (".xml" if kind == "openvino" else ".bin"))
    if not path.exists():
        # Scores of random weights are so alike that fewer bits find other things.
        settings: dict[str, Any] = FILES[way] | {"strict": "precision" not in FILES[way]}
        if settings.get("precision") == "int8":
            settings["calibration_inputs"] = photos(_CALIBRATION_IMAGES, seed=1)
        export(model, kind, path, photos(1), report=None, **settings)
    return path


def measure(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds on the clock and of the processor, by way; each was called once before."""
    samples: dict[str, list[tuple[float, float]]] = {way: [] for way in calls}
    for done in range(rounds):
        for way in list(calls) if done % 2 else list(reversed(calls)):
            clock, processor = time.perf_counter(), time.process_time()
            calls[way]()
            samples[way].append((time.perf_counter() - clock, time.process_time() - processor))
    found = {}
    for way, rows in samples.items():
        seconds, processor = (statistics.median(column) for column in zip(*rows, strict=True))
        found[way] = {"seconds": seconds, "processor_seconds": processor}
    return found


def peak_memory(way: str, name: str, batch: int, folder: Path) -> float:
    """Mebibytes of a process that loads a model and calls it once."""
    command = [sys.executable, __file__, name, "--ways", way, "--batches", str(batch)]
    command += ["--folder", str(folder), "--peak-only"]
    return float(subprocess.check_output(command, text=True).split()[-1])


def run(name: str, ways: list[str], batch: int, folder: Path, options: Any) -> dict[str, Any]:
    """The figures of a model and a batch size."""
    model, inputs = detector(name), photos(batch)
    calls, refused = {}, {}
    for way in ways:
        begin = time.perf_counter()
        try:
            callee = prepared(way, model, folder)
            with torch.no_grad():
                callee(inputs)
        except (ImportError, ValueError) as error:
            refused[way] = str(error)
            print(f"{name}, {way}: {error}", flush=True)
            continue
        calls[way] = lambda callee=callee: callee(inputs)
        print(f"{name}, {way}: ready in {time.perf_counter() - begin:.0f} s", flush=True)
    with torch.no_grad():
        found = measure(calls, options.rounds)
    for way, figures in found.items():
        figures["times_eager"] = found["eager"]["seconds"] / figures["seconds"]
        figures["times_eager_processor"] = (
            found["eager"]["processor_seconds"] / figures["processor_seconds"]
        )
        if not options.no_memory:
            figures["peak_mib"] = peak_memory(way, name, batch, folder)
        print(
            f"{name}, batch {batch}, {way:<18} {figures['seconds'] * 1e3:8.0f} ms "
            f"{figures['times_eager']:5.2f}x eager (processor {figures['processor_seconds']:.2f} s,"
            f" {figures['times_eager_processor']:.2f}x)  peak {figures.get('peak_mib', 0):.0f} MiB",
            flush=True,
        )
    return {"ways": found, "refused": refused}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ZOO)}")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are, and stay, by model")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--peak-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))
    if options.peak_only:
        _print_peak(options)
        return
    for name in options.names or ZOO:
        with tempfile.TemporaryDirectory() as made:
            folder = options.folder / name if options.folder else Path(made)
            folder.mkdir(parents=True, exist_ok=True)
            ways = ["eager", *(way for way in options.ways if way != "eager")]
            rows = {
                f"batch {batch}": run(name, ways, batch, folder, options)
                for batch in options.batches
            }
        record = {
            "topic": f"export-{name}",
            "image": [3, HEIGHT, WIDTH],
            "threads": torch.get_num_threads(),
            "unit": "seconds, median",
            "environment": environment(PACKAGES),
            "rows": rows,
        }
        path = RESULTS / f"export-{name}.json"
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _print_peak(options: Any) -> None:
    (name,), (way,), (batch,) = options.names, options.ways, options.batches
    model = detector(name) if way in IN_PYTHON else None
    callee = prepared(way, model, options.folder)
    with torch.no_grad():
        callee(photos(batch))
    print(memory_mib())


if __name__ == "__main__":
    main()
