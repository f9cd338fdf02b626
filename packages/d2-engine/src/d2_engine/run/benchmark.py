"""How long the parts of a run take, each apart from the others."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.run.classes import missing_counts
from d2_engine.run.model import build_model
from d2_engine.run.plan import RunPlan
from d2_engine.run.steps import build_trainer
from d2_engine.train_loop import HookBase, TrainerBase
from d2_eval import DatasetEvaluator, DatasetEvaluators, inference_context
from d2_eval.report import format_table

_WARMUP = 3
_KEPT_BATCHES = 4

Clock = Callable[[], float]


@attrs.frozen
class Stage:
    """How long one part took.

    Attributes:
        name: of the part.
        seconds: of each iteration, the first ones left out.
        images: in a batch; None if batches do not tell.
    """

    name: str
    seconds: tuple[float, ...]
    images: int | None

    @property
    def median(self) -> float:
        """Seconds of an iteration in the middle."""
        return statistics.median(self.seconds)


def benchmark(
    plan: RunPlan,
    iterations: int = 20,
    *,
    weights: str = "",
    clock: Clock = time.perf_counter,
) -> list[Stage]:
    """Time data, forward and backward pass, update and evaluation of a plan apart.

    Batches are loaded as fast as they come, with the workers of the config; then the model
    trains on a few of them that are kept, in the precision of the config and with the learning
    rate 0; then it detects in test images. The first iterations of each part do not count.

    Args:
        plan: of the run.
        iterations: that count, of each part; fewer where a test set ends before.
        weights: a checkpoint; by default the weights are random.
        clock: seconds that only grow.

    Returns:
        A stage for each part that the plan has data for.

    Raises:
        ValueError: if ``iterations`` is less than 1, or the plan has no data.
    """
    if iterations < 1:
        raise ValueError(f"at least one iteration is timed, got {iterations}")
    loading, kept = time_loading(plan, iterations, clock)
    test_loading, test_batches = time_test_loading(plan, iterations, clock)
    if not (loading or test_loading):
        raise ValueError("there is nothing to time: the config names no data")
    plan = _with_counts(plan)
    model = build_model(plan)
    if weights:
        DetectionCheckpointer(model).load(weights)
    stages = list(loading)
    if kept:
        stages += time_training(plan, model, kept, iterations, clock)
    stages += test_loading
    if test_batches:
        stages += time_evaluation(plan, model, test_batches, iterations, clock)
    return stages


def time_loading(
    plan: RunPlan, iterations: int, clock: Clock = time.perf_counter
) -> tuple[list[Stage], list[Any]]:
    """Time the training data; returns the stage, and a few batches."""
    if plan.train_data is None:
        return [], []
    return _time_loader("training data", plan.train_data.loader(), iterations, clock)


def time_test_loading(
    plan: RunPlan, iterations: int, clock: Clock = time.perf_counter
) -> tuple[list[Stage], list[Any]]:
    """Time the first test set; returns the stage, and a few batches."""
    if not plan.test_sets:
        return [], []
    return _time_loader("test data", plan.test_sets[0].loader(), iterations, clock)


def time_training(
    plan: RunPlan,
    model: nn.Module,
    batches: Sequence[Any],
    iterations: int,
    clock: Clock = time.perf_counter,
) -> list[Stage]:
    """Time forward pass, backward pass and update of a plan's trainer.

    Args:
        plan: its optimizer and precision are used.
        model: on its device; its weights stay as they are.
        batches: to train on, again and again.
        iterations: that count.
        clock: seconds that only grow.
    """
    optimizer = plan.optimizer(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    trainer: TrainerBase = build_trainer(plan, model, itertools.cycle(batches), optimizer)
    marks = _Marks(_settled_clock(model, clock))
    handles = [
        model.register_forward_pre_hook(lambda *_: marks.mark("data")),
        model.register_forward_hook(lambda *_: marks.mark("forward")),
    ]
    trainer.register_hooks([_StepMarks(marks)])
    try:
        trainer.train(0, iterations + _WARMUP)
    finally:
        for handle in handles:
            handle.remove()
    images = _number_of_images(batches[0])
    return [
        Stage(name, tuple(step[name] for step in marks.steps[_WARMUP:]), images)
        for name in ("forward", "backward", "update")
    ]


def time_evaluation(
    plan: RunPlan,
    model: nn.Module,
    batches: Sequence[Any],
    iterations: int,
    clock: Clock = time.perf_counter,
) -> list[Stage]:
    """Time the model on test images, and what the evaluators do with each batch."""
    now = _settled_clock(model, clock)
    inference: list[float] = []
    collecting: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        evaluator = _evaluator(plan, folder)
        evaluator.reset()
        with inference_context(model), torch.inference_mode():
            for batch in itertools.islice(itertools.cycle(batches), iterations + _WARMUP):
                began = now()
                outputs = model(batch)
                middle = now()
                evaluator.process(batch, outputs)
                inference.append(middle - began)
                collecting.append(now() - middle)
    images = _number_of_images(batches[0])
    return [
        Stage("inference", tuple(inference[_WARMUP:]), images),
        Stage("evaluator", tuple(collecting[_WARMUP:]), images),
    ]


def stage_table(stages: Sequence[Stage]) -> str:
    """Return a table of the medians, and of the images in a second."""
    rows = []
    for stage in stages:
        speed = stage.images / stage.median if stage.images and stage.median else ""
        images = "" if stage.images is None else stage.images
        slowest = 1000 * max(stage.seconds)
        rows.append([stage.name, images, 1000 * stage.median, slowest, speed])
    return format_table(["part", "batch", "median ms", "slowest ms", "images/s"], rows)


class _Marks:
    """Time between marks, summed by their names within a step."""

    def __init__(self, clock: Clock) -> None:
        self.steps: list[dict[str, float]] = []
        self._clock = clock
        self._last = 0.0

    def start_step(self) -> None:
        self.steps.append(dict.fromkeys(("data", "forward", "backward", "update"), 0.0))
        self._last = self._clock()

    def mark(self, name: str) -> None:
        """Say that the time since the last mark went into ``name``."""
        now = self._clock()
        # Between accumulated batches the backward pass ends unnoticed, where the next begins.
        after_forward = name == "data" and self.steps[-1]["forward"] > 0
        self.steps[-1]["backward" if after_forward else name] += now - self._last
        self._last = now


class _StepMarks(HookBase):
    """The marks that a trainer's hooks see."""

    def __init__(self, marks: _Marks) -> None:
        self._marks = marks

    def before_step(self) -> None:
        self._marks.start_step()

    def after_backward(self) -> None:
        self._marks.mark("backward")

    def after_step(self) -> None:
        self._marks.mark("update")


def _time_loader(
    name: str, loader: Iterable[Any], iterations: int, clock: Clock
) -> tuple[list[Stage], list[Any]]:
    seconds: list[float] = []
    kept: list[Any] = []
    last = clock()
    for batch in itertools.islice(loader, iterations + _WARMUP):
        now = clock()
        seconds.append(now - last)
        if len(kept) < _KEPT_BATCHES:
            kept.append(batch)
        last = clock()
    if not kept:
        raise ValueError(f"the {name} have no batches")
    counted = seconds[_WARMUP:] or seconds[-1:]  # of a tiny test set at least the last
    return [Stage(name, tuple(counted), _number_of_images(kept[0]))], kept


def _with_counts(plan: RunPlan) -> RunPlan:
    """The plan with the sizes of the model that its data tells, once that was loaded."""
    data = plan.train_data if plan.train_data is not None else plan.test_sets[0]
    open_counts = missing_counts(plan, data.metadata)
    return plan.of(plan.settings.changed(open_counts)) if open_counts else plan


def _evaluator(plan: RunPlan, folder: str) -> DatasetEvaluator:
    made = plan.test_sets[0].evaluators(folder)
    if isinstance(made, DatasetEvaluator):
        return made
    return DatasetEvaluators(made or [])


def _settled_clock(model: nn.Module, clock: Clock) -> Clock:
    """A clock that waits for what the model's device has still to do."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return clock

    def now() -> float:
        torch.cuda.synchronize(device)
        return clock()

    return now


def _number_of_images(batch: Any) -> int | None:
    return len(batch) if isinstance(batch, list | tuple) else None
