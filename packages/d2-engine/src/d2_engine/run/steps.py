"""The steps that :func:`~d2_engine.run.train` and ``DefaultTrainer`` share."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from d2_engine import hooks
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.data_parallel import create_ddp_model
from d2_engine.data_position import starting_at
from d2_engine.devices import use_mixed_precision
from d2_engine.events import EventWriter
from d2_engine.run.plan import RunPlan
from d2_engine.sharding import shard
from d2_engine.solver import LRMultiplier
from d2_engine.train_loop import HookBase
from d2_engine.trainers import AMP_PRECISIONS, AMPTrainer, SimpleTrainer
from d2_structures import comm


def prepared(plan: RunPlan, model: nn.Module) -> nn.Module:
    """Return the model as it is trained, for which the optimizer is to be made."""
    return shard(model) if plan.options.sharding == "fsdp" else model


def build_trainer(
    plan: RunPlan, model: nn.Module, loader: Iterable[Any], optimizer: torch.optim.Optimizer
) -> Any:
    """Return the trainer of a plan: its own, else one of the usual in the right precision.

    Args:
        plan: of the run.
        model: on its device; several processes get it in DistributedDataParallel.
        loader: of the training data.
        optimizer: of the model's parameters.
    """
    device = next(model.parameters()).device
    wrapped = create_ddp_model(model, **plan.ddp)
    if plan.trainer is not None:
        return plan.trainer(wrapped, loader, optimizer)
    accumulate = plan.options.accumulate
    if not use_mixed_precision(plan.mixed_precision, device):
        return SimpleTrainer(wrapped, loader, optimizer, accumulate=accumulate)
    return AMPTrainer(
        *(wrapped, loader, optimizer),
        precision=AMP_PRECISIONS.get(plan.options.amp_precision),
        accumulate=accumulate,
    )


def build_scheduler(plan: RunPlan, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Return the schedule of a plan as a torch scheduler of the optimizer."""
    schedule = plan.schedule(optimizer)
    if isinstance(schedule, LRScheduler):
        return schedule
    return LRMultiplier(optimizer, schedule, plan.max_iter)


def build_checkpointer(plan: RunPlan, model: nn.Module, trainer: Any) -> DetectionCheckpointer:
    """Return what saves model and trainer in the run's folder."""
    # The trainer's hooks hold the checkpointer: a proxy the other way, so that all of them, and
    # the loading processes, end with the run.
    return DetectionCheckpointer(model, plan.output_dir, trainer=weakref.proxy(trainer))


def resume_or_load(
    checkpointer: DetectionCheckpointer, trainer: Any, weights: str, *, resume: bool
) -> int:
    """Continue from the last checkpoint of the folder, or begin with some weights.

    Args:
        checkpointer: of the run's folder.
        trainer: with a ``data_loader``, which then continues where the checkpoint left it.
        weights: to begin with where there is no checkpoint, or ``resume`` is false.
        resume: whether to continue.

    Returns:
        The first iteration to do.
    """
    checkpointer.resume_or_load(weights, resume=resume)
    if not resume or not checkpointer.has_checkpoint():
        return 0
    start = int(trainer.start_iter)
    inner = getattr(trainer, "_trainer", trainer)
    consumed = getattr(inner, "batches_consumed", start)
    state = getattr(inner, "data_state", None)
    inner.data_loader = starting_at(inner.data_loader, consumed, state)
    return start


def images_per_iteration(plan: RunPlan) -> int | None:
    """Return how many images one update is made of, over all processes; None if not known."""
    batch_size = None if plan.train_data is None else plan.train_data.batch_size
    return None if batch_size is None else batch_size * plan.options.accumulate


def usual_hooks(
    plan: RunPlan,
    trainer: SimpleTrainer,
    *,
    seed: int | None,
    scheduler: LRScheduler,
    checkpointer: DetectionCheckpointer,
    ema: HookBase | None,
    evaluate: Callable[[], Mapping[str, Any] | None],
    writers: Sequence[EventWriter],
) -> list[HookBase | None]:
    """Return the hooks of a run in their order; writers last, behind all that stores values.

    Args:
        plan: of the run.
        trainer: does the steps.
        seed: of the run; None leaves the generators alone.
        scheduler: of the learning rates.
        checkpointer: of the run's folder.
        ema: keeps averaged weights; None for none.
        evaluate: called periodically and at the end.
        writers: where metrics go, on the main process.
    """
    precise_bn = None
    if plan.precise_bn and plan.train_data is not None:
        precise_bn = hooks.PreciseBN(
            *(plan.eval_period, trainer.model, plan.train_data.loader(), plan.precise_bn),
            precision=getattr(trainer, "precision", None),
        )
    return [
        hooks.IterationSeed(seed) if seed is not None else None,
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=scheduler),
        precise_bn,
        ema,
        hooks.PeriodicCheckpointer(
            checkpointer, plan.checkpoint_period, max_to_keep=plan.max_to_keep
        ),
        hooks.EvalHook(plan.eval_period, evaluate),
        # Every process has it, because every process is handed its state.
        hooks.PeriodicWriter(writers if comm.is_main_process() else [], plan.log_period),
    ]
