"""Optimizers and schedules in detectron2's forms, which the compatibility import adds to d2's."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_config import get_cfg
from d2_engine.compat.shims import (
    polynomial_schedule,
    schedules,
    solver,
)


def parameters(*sizes: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(size)) for size in sizes]


@pytest.mark.parametrize("as_class", [True, False])
def test_gradients_are_clipped_as_a_config_says(as_class: bool):
    cfg = get_cfg()
    assert solver.maybe_add_gradient_clipping(cfg, torch.optim.SGD) is torch.optim.SGD
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.5
    (weight,) = parameters(2)
    if as_class:
        optimizer = solver.maybe_add_gradient_clipping(cfg, torch.optim.SGD)([weight], lr=1.0)
        assert type(optimizer).__name__ == "SGDWithGradientClip"
    else:
        optimizer = solver.maybe_add_gradient_clipping(cfg, torch.optim.SGD([weight], lr=1.0))
    weight.grad = torch.tensor([3.0, -3.0])
    optimizer.step()
    assert weight.tolist() == [0.5, 1.5]


def test_parameter_groups_are_split_and_joined():
    a, b, c = parameters(1, 1, 1)
    groups = [{"params": [a, b], "lr": 1.0}, {"params": [c], "lr": 1.0}, {"params": [b], "lr": 2.0}]
    assert [g["lr"] for g in solver._expand_param_groups(groups)] == [1.0, 2.0, 1.0]
    joined = solver.reduce_param_groups(groups)
    assert [(g["lr"], len(g["params"])) for g in joined] == [(1.0, 2), (2.0, 1)]
    with pytest.raises(ValueError, match="'params'"):
        solver._expand_param_groups([{"lr": 1.0}])


def rates(make: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD(parameters(1), lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_older_schedules_warm_up_and_fall():
    steps = rates(
        lambda o: schedules.WarmupMultiStepLR(o, [3, 4], 0.1, warmup_factor=0.5, warmup_iters=2), 5
    )
    assert steps == pytest.approx([0.5, 0.75, 1.0, 0.1, 0.01])
    cosine = rates(lambda o: schedules.WarmupCosineLR(o, 4, warmup_iters=0), 4)
    assert cosine == pytest.approx([1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5])
    with pytest.raises(ValueError, match="constant"):
        schedules._get_warmup_factor_at_iter("cubic", 0, 5, 0.1)
    with pytest.raises(ValueError, match="increase"):
        rates(lambda o: schedules.WarmupMultiStepLR(o, [4, 3]), 1)


def test_the_polynomial_schedule_ends_where_it_is_told():
    poly = rates(
        lambda o: polynomial_schedule.WarmupPolyLR(
            o, 10, warmup_iters=0, power=1.0, constant_ending=0.75
        ),
        5,
    )
    assert poly == pytest.approx([1.0, 0.9, 0.8, 0.75, 0.75])
