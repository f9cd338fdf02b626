"""Time a step of SimpleTrainer with the usual hooks beside the same step written plainly.

The model is as small as models get, so that nearly everything measured is what the trainer adds:
seeding, metrics, learning rate, periodic writing to a log, to JSON and to TensorBoard. It has the
losses of a Mask R-CNN. A training of 200 steps is measured, in time of this process, and divided;
checkpoints and evaluation are not part of it.

    PYTHONPATH=benchmarks python benchmarks/engine/trainer_overhead.py
"""

import itertools
import logging
import os
import tempfile
import time

import torch
from _paired import Paired, measure_pairs, report
from torch import Tensor, nn

from d2_engine import AMPTrainer, SimpleTrainer, hooks
from d2_engine.checkpoint import Checkpointer
from d2_engine.defaults import default_writers
from d2_engine.interruption import Interruption, StopOnInterruption
from d2_engine.solver import CosineParamScheduler, LRMultiplier

STEPS = 200
LIMIT = 1e-3  # seconds that a step may take beyond model and optimizer
LOSSES = ("loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc")


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(4, 1) for name in LOSSES})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: head(x).square().mean() for name, head in self.heads.items()}


def parts() -> tuple[Tiny, itertools.repeat, torch.optim.Optimizer]:
    model = Tiny()
    return model, itertools.repeat(torch.ones(2, 4)), torch.optim.SGD(model.parameters(), lr=1e-3)


def train(kind: type[SimpleTrainer], folder: str, *, ema: bool) -> None:
    model, data, optimizer = parts()
    trainer = kind(model, data, optimizer)
    schedule = LRMultiplier(optimizer, CosineParamScheduler(1, 0), STEPS)
    trainer.register_hooks(
        [
            hooks.IterationSeed(1),
            hooks.IterationTimer(),
            hooks.LRScheduler(optimizer, schedule),
            hooks.EMA(model) if ema else None,
            hooks.PeriodicCheckpointer(Checkpointer(model), 5000),
            hooks.EvalHook(0, dict),
            hooks.PeriodicWriter(default_writers(folder, STEPS)),
            StopOnInterruption(Interruption()),
        ]
    )
    trainer.train(0, STEPS)


def plain(*, autocast: bool) -> None:
    model, data, optimizer = parts()
    for batch in itertools.islice(data, STEPS):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values(), start=torch.zeros(())).backward()
        optimizer.step()


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        log = logging.getLogger("d2_engine")
        log.addHandler(logging.StreamHandler(nowhere))
        log.setLevel(logging.INFO)
        log.propagate = False
        kinds = {
            "SimpleTrainer": (SimpleTrainer, False),
            "AMPTrainer": (AMPTrainer, False),
            "with averaged weights": (SimpleTrainer, True),
        }
        rows = {}
        for name, (kind, ema) in kinds.items():
            run = measure_pairs(
                lambda kind=kind, ema=ema: train(kind, folder, ema=ema),
                lambda kind=kind: plain(autocast=kind is AMPTrainer),
                rounds=25,
                seconds=20.0,
                clock=time.process_time,
            )
            rows[name] = Paired(run.ours / STEPS, run.peer / STEPS, run.ratio)
    added = {name: row.ours - row.peer for name, row in rows.items()}
    report("engine-trainer-overhead", rows, "plain loop", steps=STEPS, added_seconds=added)
    for name, seconds in added.items():
        verdict = "within" if seconds <= LIMIT else "ABOVE"
        print(f"{name}: {seconds * 1e3:.3f} ms a step added, {verdict} {LIMIT * 1e3:g} ms")


if __name__ == "__main__":
    main()
