"""Step: whole detectors beside torchvision's: images per second, memory, waits of the host."""

from __future__ import annotations

import argparse
import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from detectors import FULL, TINY, Detector, Scale, build, pictures
from device_timing import alternate, choose_device, peak_bytes, warm_up
from host_waits import host_waits
from operators import torchvision_or_none
from record import note


class Run(NamedTuple):
    """One configuration that is measured."""

    name: str
    mode: str
    batch: int
    precision: torch.dtype
    channels_last: bool = False

    @property
    def what(self) -> str:
        """The configuration in words."""
        last = ", channels last" if self.channels_last else ""
        return f"{str(self.precision).removeprefix('torch.')}, batch {self.batch}{last}"


def runs(dry: bool) -> Iterator[Run]:
    """Configurations in the order of their worth; a dry run has a few of batch 1."""
    kinds = [(n, m) for n in ("mask_rcnn", "retinanet") for m in ("training", "inference")]
    if dry:
        for name, mode in kinds:
            yield Run(name, mode, 1, torch.bfloat16, mode == "inference")
        return
    for precision, batches in (
        (torch.bfloat16, (16, 1)),
        (torch.float32, (16, 1)),
        (torch.bfloat16, (8, 2)),
        (torch.float32, (8, 2)),
    ):
        for name, mode in kinds:
            for batch in batches:
                yield Run(name, mode, batch, precision)
            if batches == (16, 1) and precision == torch.bfloat16:
                yield Run(name, mode, 16, precision, True)


def step_of(detector: Detector, run: Run, batch: list[dict[str, Any]]) -> Callable[[], Any]:
    """What is timed: a prediction, or an iteration of training with its update."""
    model = detector.model.train(run.mode == "training")
    memory_format = torch.channels_last if run.channels_last else torch.contiguous_format
    model.to(memory_format=memory_format)
    mixed = run.precision != torch.float32
    device = batch[0]["image"].device

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, run.precision if mixed else None, enabled=mixed)

    if run.mode == "inference":

        def predict() -> list[Any]:
            with torch.no_grad(), autocast():
                return detector.predict(batch)

        return predict
    # A rate at which the weights stay as they are made.
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-12, momentum=0.9)

    def train() -> None:
        optimizer.zero_grad()
        with autocast():
            loss = detector.losses(batch)
        loss.backward()
        optimizer.step()

    return train


def measure(
    run: Run, pair: tuple[Detector, Detector | None], batch: list[dict[str, Any]], dry: bool
) -> dict[str, Any]:
    """The figure of a configuration."""
    device = batch[0]["image"].device
    steps = [step_of(d, run, batch) for d in pair if d is not None]
    rounds, seconds = (1, 0.0) if dry else (15, 0.8)
    peer = steps[1] if len(steps) > 1 else None
    paired = alternate(steps[0], peer, device, rounds=rounds, seconds=seconds, warm=0 if dry else 1)
    figure: dict[str, Any] = {
        "step": "models",
        "name": run.name,
        "mode": run.mode,
        "what": run.what,
        **paired._asdict(),
        "images_per_second": run.batch / paired.ours,
    }
    for prefix, detector, step in zip(("", "peer_"), pair, steps, strict=False):
        figure[f"{prefix}peak_bytes"] = peak_bytes(step, device)
        if run.mode == "inference":
            figure[f"{prefix}detections"] = [detector.count(output) for output in step()]
        if run.batch == 1 and run.precision == torch.bfloat16:
            figure[f"{prefix}host"] = host_waits(step, device)
    return figure


def measure_all(dry: bool) -> int:
    """Note the figure of every configuration; an error ends that one only.

    Returns:
        How many failed.
    """
    device, failed = choose_device(dry), 0
    scale: Scale = TINY if dry else FULL
    vision = torchvision_or_none()
    warm_up(device, 0.05 if dry else 0.5)
    batch = pictures(1 if dry else 16, scale, device)
    pairs: dict[str, tuple[Detector, Detector | None]] = {}
    for run in runs(dry):
        try:
            if run.name not in pairs:
                pairs[run.name] = build(run.name, scale, device, vision)
            pair = pairs[run.name]
            figure = measure(run, pair, batch[: run.batch], dry)
            note("figure", **figure)
            ratio = "—" if figure["ratio"] is None else f"{figure['ratio']:.2f}x"
            rate = f"{figure['images_per_second']:.1f} images/s"
            print(f"{run.name} {run.mode}, {run.what}: {rate}, {ratio}")
        except Exception as error:
            failed += 1
            traceback.print_exc()
            values = {"name": run.name, "mode": run.mode, "what": run.what}
            note("figure", step="models", **values, error=repr(error))
            _free(device)
    return failed


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true")
    return 1 if measure_all(parser.parse_args().dry) else 0


if __name__ == "__main__":
    sys.exit(main())
