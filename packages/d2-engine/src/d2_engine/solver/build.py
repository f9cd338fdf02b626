"""Optimizer and schedule from a yacs-style config."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from d2_engine.solver.gradient_clipping import add_gradient_clipping
from d2_engine.solver.lr_scheduler import (
    LRMultiplier,
    WarmupParamScheduler,
    WarmupPolyParamScheduler,
)
from d2_engine.solver.param_groups import get_default_optimizer_params
from d2_engine.solver.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)

logger = logging.getLogger(__name__)


def build_optimizer(
    cfg: Any, model: nn.Module, *, lr_factor_func: Callable[[str], float] | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer that ``cfg.SOLVER`` describes, gradient clipping included.

    It is SGD, or what ``cfg.SOLVER.OPTIMIZER`` says where a config has that.

    Args:
        cfg: a config with the section ``SOLVER``.
        model: whose trainable parameters it updates.
        lr_factor_func: full parameter name -> factor on ``SOLVER.BASE_LR``, e.g. from
            :func:`layer_decay_factor`.

    Raises:
        ValueError: if ``OPTIMIZER`` is neither ``SGD`` nor ``ADAM``.
    """
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        lr_factor_func=lr_factor_func,
    )
    optimizer = _optimizer(solver, params)
    clipping = solver.CLIP_GRADIENTS
    if clipping.ENABLED:
        add_gradient_clipping(
            optimizer, clipping.CLIP_TYPE, clipping.CLIP_VALUE, clipping.NORM_TYPE
        )
    return optimizer


def _optimizer(solver: Any, params: list[dict[str, Any]]) -> torch.optim.Optimizer:
    name = getattr(solver, "OPTIMIZER", "SGD")
    if name == "SGD":
        return torch.optim.SGD(
            params,
            lr=solver.BASE_LR,
            momentum=solver.MOMENTUM,
            nesterov=solver.NESTEROV,
            weight_decay=solver.WEIGHT_DECAY,
        )
    if name == "ADAM":
        return torch.optim.Adam(params, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY)
    raise ValueError(f"unknown SOLVER.OPTIMIZER {name!r}; known: SGD, ADAM")


def build_lr_scheduler(
    cfg: Any, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """Build the schedule that ``cfg.SOLVER.LR_SCHEDULER_NAME`` names, warm-up included.

    Raises:
        ValueError: if the name is none of ``WarmupMultiStepLR``, ``WarmupCosineLR``,
            ``WarmupStepWithFixedGammaLR`` and, with the options of DeepLab, ``WarmupPolyLR``.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "WarmupPolyLR":
        poly = WarmupPolyParamScheduler(
            solver.POLY_LR_POWER,
            solver.POLY_LR_CONSTANT_ENDING,
            solver.WARMUP_FACTOR,
            min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
            solver.WARMUP_METHOD,
        )
        return LRMultiplier(optimizer, multiplier=poly, max_iter=solver.MAX_ITER)
    multiplier = WarmupParamScheduler(
        _multiplier(solver),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=multiplier, max_iter=solver.MAX_ITER)


def _multiplier(solver: Any) -> ParamScheduler:
    name = solver.LR_SCHEDULER_NAME
    if name == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step < solver.MAX_ITER]
        if len(steps) != len(solver.STEPS):
            logger.warning(
                "SOLVER.STEPS %s reach beyond SOLVER.MAX_ITER %d; these are ignored",
                tuple(solver.STEPS),
                solver.MAX_ITER,
            )
        return MultiStepParamScheduler(
            values=[solver.GAMMA**k for k in range(len(steps) + 1)],
            milestones=steps,
            num_updates=solver.MAX_ITER,
        )
    if name == "WarmupCosineLR":
        end_value = solver.BASE_LR_END / solver.BASE_LR
        if not 0 <= end_value <= 1:
            raise ValueError(
                f"SOLVER.BASE_LR_END must lie between 0 and SOLVER.BASE_LR={solver.BASE_LR}, "
                f"got {solver.BASE_LR_END}"
            )
        return CosineParamScheduler(1.0, end_value)
    if name == "WarmupStepWithFixedGammaLR":
        return StepWithFixedGammaParamScheduler(
            base_value=1.0,
            gamma=solver.GAMMA,
            num_decays=solver.NUM_DECAYS,
            num_updates=solver.MAX_ITER,
        )
    raise ValueError(
        f"unknown SOLVER.LR_SCHEDULER_NAME {name!r}; known: WarmupMultiStepLR, WarmupCosineLR, "
        "WarmupStepWithFixedGammaLR, WarmupPolyLR"
    )
