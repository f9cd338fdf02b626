"""Optimizers and learning-rate schedules."""

from d2_engine.solver.build import build_lr_scheduler, build_optimizer
from d2_engine.solver.gradient_clipping import add_gradient_clipping
from d2_engine.solver.layer_decay import layer_decay_factor
from d2_engine.solver.lr_scheduler import (
    LRMultiplier,
    WarmupParamScheduler,
    WarmupPolyParamScheduler,
)
from d2_engine.solver.param_groups import get_default_optimizer_params
from d2_engine.solver.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    PolynomialDecayParamScheduler,
    StepParamScheduler,
    StepWithFixedGammaParamScheduler,
)

__all__ = [
    "CompositeParamScheduler",
    "ConstantParamScheduler",
    "CosineParamScheduler",
    "ExponentialParamScheduler",
    "LRMultiplier",
    "LinearParamScheduler",
    "MultiStepParamScheduler",
    "ParamScheduler",
    "PolynomialDecayParamScheduler",
    "StepParamScheduler",
    "StepWithFixedGammaParamScheduler",
    "WarmupParamScheduler",
    "WarmupPolyParamScheduler",
    "add_gradient_clipping",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "layer_decay_factor",
]
