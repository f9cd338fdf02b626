"""What each hook does to a run."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from d2_engine import SimpleTrainer, TrainerBase, hooks
from d2_engine.checkpoint import Checkpointer
from d2_engine.events import EventWriter
from d2_engine.hooks.seeding import seed_generators, split_seed
from d2_engine.solver import LinearParamScheduler, LRMultiplier


class Idle(TrainerBase):
    """Steps an optimizer if it has one, and fails at one iteration."""

    fail_at: int | None = None
    optimizer: torch.optim.Optimizer | None = None

    def run_step(self) -> None:
        if self.optimizer is not None:
            self.optimizer.step()
        if self.iter == self.fail_at:
            raise RuntimeError("boom")


def run(*hooks_, start=0, end=6, fail_at=None, optimizer=None):
    trainer = Idle()
    trainer.optimizer = optimizer
    trainer.fail_at = fail_at
    trainer.register_hooks(hooks_)
    if fail_at is None:
        trainer.train(start, end)
    else:
        with pytest.raises(RuntimeError):
            trainer.train(start, end)
    return trainer


def test_callbacks_get_the_trainer():
    calls = []
    run(
        hooks.CallbackHook(
            before_train=lambda t: calls.append("start"),
            after_step=lambda t: calls.append(t.iter),
            after_train=lambda t: calls.append("end"),
        ),
        end=2,
    )
    assert calls == ["start", 0, 1, "end"]


def test_the_timer_records_iterations_after_its_warmup(caplog):
    caplog.set_level("INFO")
    trainer = run(hooks.IterationTimer(warmup_iter=2), end=5)
    assert [i for _, i in trainer.storage.history("time").values()] == [2, 3, 4]
    assert "3 iterations" in caplog.text


class Writer(EventWriter):
    def __init__(self) -> None:
        self.written: list[int] = []
        self.closed = False

    def write(self) -> None:
        from d2_engine.events import get_event_storage

        self.written.append(get_event_storage().iter)

    def close(self) -> None:
        self.closed = True


def test_writers_write_periodically_after_the_last_iteration_and_at_the_end():
    writer = Writer()
    run(hooks.PeriodicWriter([writer], period=4), end=6)
    assert writer.written == [3, 5, 6]
    assert writer.closed


def test_writers_are_closed_after_an_error():
    writer = Writer()
    run(hooks.PeriodicWriter([writer], period=4), fail_at=1)
    assert writer.closed


def test_checkpoints_are_written_periodically_and_at_the_end(tmp_path):
    checkpointer = Checkpointer(nn.Linear(1, 1), tmp_path)
    run(hooks.PeriodicCheckpointer(checkpointer, period=2), end=5)
    names = [Path(p).name for p in checkpointer.get_all_checkpoint_files()]
    assert names == ["model_0000001.pth", "model_0000003.pth", "model_final.pth"]


def test_evaluation_runs_periodically_and_once_at_the_end():
    calls = []

    def evaluate():
        calls.append(len(calls))
        return {"bbox": {"AP": 10.0 * len(calls)}}

    trainer = run(hooks.EvalHook(2, evaluate), end=6)
    assert len(calls) == 3
    assert trainer.storage.history("bbox/AP").values() == [(10.0, 1), (20.0, 3), (30.0, 6)]


def test_evaluation_at_the_end_is_left_out_after_an_error_even_in_the_last_iteration():
    calls = []
    run(hooks.EvalHook(0, lambda: calls.append(1)), end=3, fail_at=2)
    assert calls == []


def test_evaluation_results_must_be_numbers():
    trainer = run(hooks.EvalHook(0, lambda: {"a": {"b": np.float32(2)}, "c": 1}), end=1)
    assert trainer.storage.latest() == {"a/b": (2.0, 1), "c": (1.0, 1)}
    with pytest.raises(TypeError, match="a/b"):
        run(hooks.EvalHook(0, lambda: {"a": {"b": "high"}}), end=1)
    with pytest.raises(TypeError, match="dict"):
        run(hooks.EvalHook(0, lambda: [1.0]), end=1)


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 3)])
def test_the_best_checkpoint_is_kept(tmp_path, mode, best):
    values = iter([0.5, 0.1, 0.3])
    evaluation = hooks.EvalHook(2, lambda: {"AP": next(values)})
    checkpointer = Checkpointer(nn.Linear(1, 1), tmp_path)
    hook = hooks.BestCheckpointer(2, checkpointer, "AP", mode=mode)
    run(evaluation, hook, end=6)
    assert hook.best_iter == best
    extra = checkpointer.load(str(tmp_path / "model_best.pth"))
    assert extra == {"iteration": best}


def test_the_best_checkpoint_of_the_last_evaluation_names_the_last_iteration(tmp_path):
    checkpointer = Checkpointer(nn.Linear(1, 1), tmp_path)
    hook = hooks.BestCheckpointer(0, checkpointer, "AP")
    run(hooks.EvalHook(0, lambda: {"AP": 1.0}), hook, end=6)
    assert checkpointer.load(str(tmp_path / "model_best.pth")) == {"iteration": 5}


def test_the_best_value_survives_resuming():
    hook = hooks.BestCheckpointer(1, Checkpointer(nn.Linear(1, 1)), "AP")
    hook.load_state_dict({"best_metric": 0.5, "best_iter": 3})
    assert hook.state_dict() == {"best_metric": 0.5, "best_iter": 3}


def test_the_rate_of_each_iteration_is_recorded_and_follows_the_schedule():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    trainer = run(
        hooks.LRScheduler(scheduler=LinearParamScheduler(1, 0)), end=4, optimizer=optimizer
    )
    rates = [value for value, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([2.0, 1.5, 1.0, 0.5])


def test_a_schedule_can_start_in_the_middle():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=2.0)
    trainer = run(
        hooks.LRScheduler(optimizer, LinearParamScheduler(1, 0)),
        start=2,
        end=4,
        optimizer=optimizer,
    )
    rates = [value for value, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([1.0, 0.5])


def test_a_torch_scheduler_is_stepped_and_its_state_kept():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
    loader = iter(lambda: torch.rand(1, 1), None)
    trainer = SimpleTrainer(_Mean(model), loader, optimizer)
    trainer.scheduler = scheduler
    trainer.register_hooks([hooks.LRScheduler()])
    trainer.train(0, 4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    assert trainer.state_dict()["hooks"]["LRScheduler"]["last_epoch"] == 4


def steps_of_a_fast_run(optimizer):
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.1)


def cosine_of_a_slow_run(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def linear_share_of_a_run(optimizer):
    return LinearParamScheduler(1, 0)


def multiplier_for_ten(optimizer):
    return LRMultiplier(optimizer, LinearParamScheduler(1, 0), 10)


def warmup_then_decay(optimizer):
    parts = [
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
    ]
    return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[3])


SCHEDULES = [
    steps_of_a_fast_run,
    cosine_of_a_slow_run,
    linear_share_of_a_run,
    multiplier_for_ten,
    warmup_then_decay,
]


def trained_rates(make_schedule, *, state=None, rate=0.5, until, loaded_first=False):
    """Train; returns the rate of each iteration, and the state to continue with."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    trainer = SimpleTrainer(_Mean(model), iter(lambda: torch.rand(1, 1), None), optimizer)
    hook, rates = hooks.LRScheduler(scheduler=make_schedule(optimizer)), {}
    note = hooks.CallbackHook(
        before_step=lambda t: rates.update({t.iter: optimizer.param_groups[0]["lr"]})
    )
    if state is not None and loaded_first:
        trainer.load_state_dict(state)
    trainer.register_hooks([note, hook])
    if state is not None and not loaded_first:
        trainer.load_state_dict(state)
    trainer.train(trainer.start_iter, until)
    return rates, trainer.state_dict()


# A share of the run would be another one of the three iterations that are made first.
@pytest.mark.parametrize("make", [make for make in SCHEDULES if make is not linear_share_of_a_run])
@pytest.mark.parametrize("loaded_first", [False, True])
def test_a_resumed_schedule_is_that_of_a_run_that_was_never_stopped(make, loaded_first):
    straight, _ = trained_rates(make, until=10)
    first, state = trained_rates(make, until=3)
    resumed, _ = trained_rates(make, state=state, until=10, loaded_first=loaded_first)
    assert first | resumed == straight
    assert min(resumed) == 3


@pytest.mark.parametrize("loaded_first", [False, True])
@pytest.mark.parametrize("before", SCHEDULES)
@pytest.mark.parametrize("after", SCHEDULES)
def test_the_rate_and_schedule_of_the_config_hold_from_the_first_resumed_iteration(
    before, after, loaded_first
):
    wanted, _ = trained_rates(after, rate=0.25, until=10)
    _, state = trained_rates(before, until=3)
    resumed, _ = trained_rates(after, state=state, rate=0.25, until=10, loaded_first=loaded_first)
    assert resumed == {i: pytest.approx(wanted[i]) for i in range(3, 10)}


def test_a_schedule_is_not_affected_by_an_optimizer_that_was_loaded_before_it():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    hook = hooks.LRScheduler(optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5))
    optimizer.param_groups[0]["lr"] = 0.125
    hook.load_state_dict({"last_epoch": 2})
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_a_scheduler_beyond_the_checkpoint_is_refused():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    run(hooks.LRScheduler(optimizer, scheduler), end=4, optimizer=optimizer)
    with pytest.raises(ValueError, match=r"at iteration 4, the checkpoint at 2.*new scheduler"):
        hooks.LRScheduler(optimizer, scheduler).load_state_dict({"last_epoch": 2})


def test_the_log_names_what_changed_of_a_schedule_once(caplog):
    caplog.set_level("INFO")
    _, state = trained_rates(linear_share_of_a_run, until=3)
    trained_rates(linear_share_of_a_run, state=state, rate=0.25, until=6)
    lines = [r.getMessage() for r in caplog.records if "in the checkpoint" in r.getMessage()]
    assert lines == [
        "learning rate: 0.5 in the checkpoint, 0.25 now",
        "iterations: 3 in the checkpoint, 6 now",
    ]


class _Mean(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).mean()


def test_random_numbers_depend_on_the_iteration_only():
    def draws(start):
        seen = {}
        run(
            hooks.IterationSeed(3),
            hooks.CallbackHook(
                after_step=lambda t: seen.update(
                    {
                        t.iter: (
                            random.random(),
                            np.random.random_sample(),  # noqa: NPY002  # the one that is seeded
                            torch.rand(()).item(),
                        )
                    }
                )
            ),
            start=start,
            end=4,
        )
        return seen

    straight, resumed = draws(0), draws(2)
    assert resumed == {i: straight[i] for i in (2, 3)}
    assert len(set(straight.values())) == 4


def test_a_seed_gives_the_numbers_that_it_gives_everywhere():
    seed_generators(2**40 + 1)
    drawn = (random.random(), torch.rand(2).tolist())
    torch.manual_seed(2**40 + 1)
    assert drawn == (random.Random(2**40 + 1).random(), torch.rand(2).tolist())


def test_split_seeds_differ_by_every_key():
    seeds = {split_seed(s, rank, i) for s in (0, 1) for rank in (0, 1) for i in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_profiles_are_written_for_chosen_iterations(tmp_path, tensorboard):
    hook = hooks.TorchProfiler(
        lambda t: t.iter == 1,
        str(tmp_path),
        activities=[torch.profiler.ProfilerActivity.CPU],
        save_tensorboard=tensorboard,
    )
    run(hook, end=3)
    traces = [p.name for p in tmp_path.glob("*.json")]
    assert traces == ["profiler-trace-iter1.json"]
    assert "traceEvents" in json.loads((tmp_path / traces[0]).read_text())
    assert (tmp_path / "log").is_dir() == tensorboard


def test_the_autograd_profiler_writes_the_same_kind_of_file(tmp_path):
    run(hooks.AutogradProfiler(lambda t: t.iter == 0, str(tmp_path), use_cuda=False), end=2)
    assert [p.name for p in tmp_path.iterdir()] == ["profiler-trace-iter0.json"]


def test_precise_batch_norm_stores_true_averages():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3))
    batches = [torch.randn(50, 3) * 2 + 1 for _ in range(8)]
    run(hooks.PreciseBN(0, model, batches, num_iter=8), end=1)
    everything = torch.cat(batches)
    layer = model[0]
    assert torch.allclose(layer.running_mean, everything.mean(0), atol=1e-5)
    assert torch.allclose(layer.running_var, everything.var(0), rtol=0.03)
    assert layer.momentum == 0.1


def test_precise_batch_norm_begins_its_data_anew_for_every_update():
    class Data:
        started = 0

        def __iter__(self):
            self.started += 1
            return iter([torch.ones(4, 3), torch.zeros(4, 3), torch.full((4, 3), 9.0)])

    model, data = nn.Sequential(nn.BatchNorm1d(3)), Data()
    hook = hooks.PreciseBN(1, model, data, num_iter=2)
    run(hook, end=3)
    assert data.started == 3
    assert torch.equal(model[0].running_mean, torch.full((3,), 0.5))
    hook = hooks.PreciseBN(1, model, iter([torch.ones(4, 3), torch.zeros(4, 3)]), num_iter=1)
    run(hook, end=2)
    assert torch.equal(model[0].running_mean, torch.zeros(3))


def test_precise_batch_norm_runs_in_the_precision_of_training():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    dtypes = []
    model[0].register_forward_hook(lambda m, i, output: dtypes.append(output.dtype))
    for precision in (None, torch.bfloat16):
        run(hooks.PreciseBN(0, model, [torch.ones(4, 3)], 1, precision=precision), end=1)
    assert dtypes == [torch.float32, torch.bfloat16]


def test_precise_batch_norm_leaves_layers_in_evaluation_mode(caplog):
    caplog.set_level("INFO")
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    run(hooks.PreciseBN(0, model, [], num_iter=1), end=1)
    assert "no batch-norm layer" in caplog.text
    assert torch.equal(model[0].running_mean, torch.zeros(3))


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="EventWriter"):
        hooks.PeriodicWriter([print])
    with pytest.raises(ValueError, match="period"):
        hooks.PeriodicWriter([], period=0)
    with pytest.raises(ValueError, match="'max' or 'min'"):
        hooks.BestCheckpointer(1, Checkpointer(nn.Linear(1, 1)), "AP", mode="best")
