"""Learning rates of optimizers over iterations."""

import json
from types import SimpleNamespace

import pytest
import torch

from d2_engine.solver import (
    ConstantParamScheduler,
    CosineParamScheduler,
    LRMultiplier,
    MultiStepParamScheduler,
    WarmupParamScheduler,
    build_lr_scheduler,
)


def make_optimizer(*rates: float | torch.Tensor) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates_after_each_step(optimizer, scheduler, steps):
    rates = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


def solver_config(**changes):
    settings = {
        "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
        "MAX_ITER": 200,
        "BASE_LR": 0.02,
        "BASE_LR_END": 0.0,
        "GAMMA": 0.1,
        "STEPS": (100, 150),
        "NUM_DECAYS": 3,
        "WARMUP_FACTOR": 0.001,
        "WARMUP_ITERS": 20,
        "WARMUP_METHOD": "linear",
        "RESCALE_INTERVAL": False,
    }
    return SimpleNamespace(SOLVER=SimpleNamespace(**{**settings, **changes}))


@pytest.mark.parametrize(
    "name", ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"]
)
def test_schedules_equal_the_original_system(shared, name):
    golden = json.loads((shared / "golden" / "lr_schedules.json").read_text())[name]
    optimizer = make_optimizer(0.02)
    scheduler = build_lr_scheduler(solver_config(LR_SCHEDULER_NAME=name), optimizer)
    rates = rates_after_each_step(optimizer, scheduler, len(golden))
    assert rates == pytest.approx(golden, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("ending", [0.0, 0.3])
def test_a_polynomial_decay_is_multiplied_with_the_warm_up(ending):
    solver = solver_config(
        LR_SCHEDULER_NAME="WarmupPolyLR", POLY_LR_POWER=0.9, POLY_LR_CONSTANT_ENDING=ending
    )
    optimizer = make_optimizer(0.02)
    rates = rates_after_each_step(optimizer, build_lr_scheduler(solver, optimizer), 199)
    for iteration, rate in enumerate(rates, start=1):
        decayed = (1 - iteration / 200) ** 0.9
        warm = iteration / 20
        if warm < 1:
            decayed *= 0.001 * (1 - warm) + warm
        elif decayed < ending:
            decayed = ending
        assert rate == pytest.approx(0.02 * decayed, rel=1e-9), iteration


def test_groups_keep_their_ratio():
    optimizer = make_optimizer(1.0, 0.1)
    scheduler = LRMultiplier(optimizer, CosineParamScheduler(1, 0), max_iter=10)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert second == pytest.approx(0.1 * first)


def test_a_resumed_scheduler_continues_the_same_rates_in_silence(caplog):
    caplog.set_level("INFO")
    multiplier = MultiStepParamScheduler([1, 0.1], num_updates=10, milestones=[6])
    optimizer = make_optimizer(0.5)
    straight = rates_after_each_step(optimizer, LRMultiplier(optimizer, multiplier, 10), 9)

    optimizer = make_optimizer(0.5)
    scheduler = LRMultiplier(optimizer, multiplier, 10)
    first = rates_after_each_step(optimizer, scheduler, 4)
    optimizer = make_optimizer(0.5)
    resumed = LRMultiplier(optimizer, multiplier, 10)
    resumed.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    assert first + rates_after_each_step(optimizer, resumed, 5) == straight
    assert caplog.text == ""


@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5)])
def test_the_schedule_of_the_resumed_run_holds_from_the_loaded_iteration_on(rate, caplog):
    caplog.set_level("INFO")
    optimizer = make_optimizer(0.02)
    before = LRMultiplier(optimizer, CosineParamScheduler(1, 0), 8)
    rates_after_each_step(optimizer, before, 8)

    optimizer = make_optimizer(rate)
    steps = MultiStepParamScheduler([1, 0.1], num_updates=20, milestones=[10])
    now = LRMultiplier(optimizer, steps, 20)
    now.load_state_dict(before.state_dict())
    assert float(optimizer.param_groups[0]["lr"]) == 0.5
    assert now.get_last_lr() == [0.5]
    assert rates_after_each_step(optimizer, now, 3) == pytest.approx([0.5, 0.05, 0.05])
    assert [record.getMessage() for record in caplog.records] == [
        "iterations: 8 in the checkpoint, 20 now",
        "learning-rate schedule: CosineParamScheduler(start_value=1, end_value=0) in the "
        "checkpoint, MultiStepParamScheduler(values=[1, 0.1], milestones=[10], num_updates=20) now",
    ]


def test_behind_its_end_a_schedule_keeps_the_last_rate():
    optimizer = make_optimizer(1.0)
    scheduler = LRMultiplier(optimizer, CosineParamScheduler(1, 0.25), 2)
    assert rates_after_each_step(optimizer, scheduler, 4)[1:] == [0.25, 0.25, 0.25]


@pytest.mark.parametrize("method", ["linear", "constant"])
def test_warmup_starts_at_its_factor_and_meets_the_schedule(method):
    scheduler = WarmupParamScheduler(CosineParamScheduler(1, 0), 0.001, 0.1, method)
    assert scheduler(0.0) == pytest.approx(0.001)
    assert scheduler(0.1) == CosineParamScheduler(1, 0)(0.1)
    middle = scheduler(0.05)
    assert middle == pytest.approx(0.001) if method == "constant" else 0.4 < middle < 0.6


def test_rescaled_warmup_squeezes_the_whole_schedule_behind_it():
    scheduler = WarmupParamScheduler(CosineParamScheduler(1, 0), 0.1, 0.5, rescale_interval=True)
    assert scheduler(0.5) == pytest.approx(1.0)
    assert scheduler(0.75) == pytest.approx(0.5)


def test_steps_beyond_the_end_are_left_out_with_a_warning(caplog):
    optimizer = make_optimizer(0.02)
    scheduler = build_lr_scheduler(solver_config(MAX_ITER=120, WARMUP_ITERS=0), optimizer)
    assert "ignored" in caplog.text
    assert rates_after_each_step(optimizer, scheduler, 119)[-1] == pytest.approx(0.002)


def test_wrong_arguments_name_the_remedy():
    with pytest.raises(TypeError, match="ParamScheduler"):
        LRMultiplier(make_optimizer(1.0), lambda where: 1.0, max_iter=10)
    with pytest.raises(ValueError, match="'linear' or 'constant'"):
        WarmupParamScheduler(ConstantParamScheduler(1), 0.1, 0.1, "burnin")
    with pytest.raises(ValueError, match="divide"):
        WarmupParamScheduler(ConstantParamScheduler(1), 0.1, 1000)
    with pytest.raises(ValueError, match="WarmupCosineLR"):
        build_lr_scheduler(solver_config(LR_SCHEDULER_NAME="Cosine"), make_optimizer(1.0))
    with pytest.raises(ValueError, match="BASE_LR_END"):
        build_lr_scheduler(
            solver_config(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR_END=1.0), make_optimizer(1.0)
        )
