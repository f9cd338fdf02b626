"""One step of training: losses, gradients, update, metrics."""

import copy
import itertools

import pytest
import torch
import torch.distributed as dist
from torch import nn

from d2_data import build_detection_train_loader
from d2_engine import AMPTrainer, HookBase, SimpleTrainer
from d2_engine.checkpoint import Checkpointer
from d2_engine.data_position import starting_at
from d2_engine.hooks import IterationSeed, LRScheduler
from d2_engine.loss_readout import LossReadout, check_finite
from d2_engine.solver import CosineParamScheduler, add_gradient_clipping


class TwoLosses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        y = self.layer(self.dropout(x))
        return {"loss_a": y.square().mean(), "loss_b": y.abs().mean()}


class Batches:
    """An endless stream that can start anywhere, as a sampler with a position does."""

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def __iter__(self):
        for index in itertools.count(self.start):
            yield torch.rand(4, 2, generator=torch.Generator().manual_seed(index))


def make_trainer(kind=SimpleTrainer, start=0, dropout=0.5, **options):
    model = TwoLosses()
    model.dropout.p = dropout
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return kind(model, Batches(start), optimizer, **options)


class Look(HookBase):
    """Note the gradients of each iteration, and the weights before each update."""

    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []

    def after_backward(self):
        self.gradients.append(self.trainer.model.layer.weight.grad.clone())


def test_a_step_is_the_update_that_torch_makes_by_hand():
    trainer = make_trainer(dropout=0.0)
    trainer.train(0, 2)

    model = TwoLosses()
    model.dropout.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for batch in itertools.islice(Batches(), 2):
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()
    assert torch.equal(trainer.model.layer.weight, model.layer.weight)


@pytest.mark.parametrize("early", [False, True])
def test_gradients_do_not_accumulate(early):
    trainer, look = make_trainer(dropout=0.0, zero_grad_before_forward=early), Look()
    trainer.register_hooks([look])
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    trainer.train(0, 2)
    losses = trainer.model(next(iter(Batches(1))))
    expected = torch.autograd.grad(sum(losses.values()), trainer.model.layer.weight)[0]
    assert torch.allclose(look.gradients[1], expected)


def test_metrics_have_their_documented_names():
    trainer = make_trainer()
    trainer.train(0, 3)
    latest = trainer.storage.latest()
    assert set(latest) == {"loss_a", "loss_b", "total_loss", "data_time"}
    assert latest["total_loss"][0] == pytest.approx(latest["loss_a"][0] + latest["loss_b"][0])
    assert latest["total_loss"][1] == 2


def test_a_single_loss_is_the_total_loss():
    class One(TwoLosses):
        def forward(self, x):
            return super().forward(x)["loss_a"]

    model = One()
    trainer = SimpleTrainer(model, Batches(), torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 1)
    assert set(trainer.storage.latest()) == {"total_loss", "data_time"}


def test_a_loss_that_is_not_finite_names_iteration_and_losses_and_spares_the_weights():
    trainer = make_trainer()
    forward = trainer.model.forward

    def poisoned(x):
        losses = forward(x)
        return {**losses, "loss_b": losses["loss_b"] * (float("nan") if trainer.iter == 2 else 1)}

    trainer.model.forward = poisoned
    with pytest.raises(FloatingPointError, match=r"iteration 2: loss_a=.*loss_b=nan"):
        trainer.train(0, 5)
    assert trainer.model.layer.weight.isfinite().all()


def test_a_loss_that_is_not_finite_names_the_files_of_its_batch():
    class Poisoned(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, batch):
            return {"loss": self.layer(torch.full((len(batch), 1), float("nan"))).sum()}

    model = Poisoned()
    batches = itertools.repeat([{"file_name": "a.jpg"}, {"file_name": "b.png"}])
    trainer = SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FloatingPointError, match=r"loss=nan.*The batch was a\.jpg, b\.png$"):
        trainer.train(0, 5)


def test_a_finite_loader_is_reported():
    model = TwoLosses()
    trainer = SimpleTrainer(model, [torch.rand(1, 2)], torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(RuntimeError, match=r"ended at iteration 1.*TrainingSampler"):
        trainer.train(0, 3)


def test_a_hook_that_leaves_evaluation_mode_on_is_reported():
    class Evaluates(HookBase):
        def after_step(self):
            self.trainer.model.eval()

    trainer = make_trainer()
    trainer.register_hooks([Evaluates()])
    with pytest.raises(RuntimeError, match="evaluation mode"):
        trainer.train(0, 2)


def hooks():
    return [IterationSeed(5), LRScheduler(scheduler=CosineParamScheduler(1, 0.1))]


class JoinedBatches:
    """The same stream in batches of twice the size."""

    def __iter__(self):
        stream = iter(Batches())
        while True:
            yield torch.cat([next(stream), next(stream)])


@pytest.mark.parametrize("early", [False, True])
def test_accumulated_batches_give_the_gradient_and_the_metrics_of_the_joined_batch(early):
    options = {"dropout": 0.0, "zero_grad_before_forward": early}
    joined, parts = make_trainer(**options), make_trainer(accumulate=2, **options)
    joined.data_loader = JoinedBatches()
    looks = Look(), Look()
    for trainer, look in zip((joined, parts), looks, strict=True):
        trainer.register_hooks([look])
        trainer.train(0, 3)
    for gradients in zip(looks[0].gradients, looks[1].gradients, strict=True):
        torch.testing.assert_close(*gradients)
    torch.testing.assert_close(joined.model.layer.weight, parts.model.layer.weight)
    for name in ("loss_a", "loss_b", "total_loss"):
        values = [t.storage.history(name).values() for t in (joined, parts)]
        assert values[0] == [(pytest.approx(v), i) for v, i in values[1]]


def test_batches_are_counted_so_that_a_resumed_run_knows_its_place_in_the_data():
    trainer = make_trainer(accumulate=3)
    trainer.train(0, 4)
    assert trainer.batches_consumed == 12
    resumed = make_trainer(accumulate=3)
    resumed.load_state_dict(trainer.state_dict())
    assert (resumed.start_iter, resumed.batches_consumed) == (4, 12)
    state = trainer.state_dict()
    del state["batches_consumed"]  # as in files of earlier versions
    resumed.load_state_dict(state)
    assert resumed.batches_consumed == 4


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_trainer_sees_the_data_of_one_that_was_not_stopped(accumulate):
    def make():
        loader = build_detection_train_loader(
            [{"x": float(i), "width": 1 + i % 3, "height": 2} for i in range(20)],
            mapper=lambda record: record["x"],
            total_batch_size=2,
            seed=3,
            collate_fn=lambda batch: seen.append(batch) or torch.tensor(batch).reshape(1, 2),
        )
        trainer = make_trainer(accumulate=accumulate)
        trainer.data_loader = loader
        return trainer

    seen: list[list[float]] = []
    make().train(0, 7)
    whole, first = seen.copy(), make()
    seen.clear()
    first.train(0, 3)
    second = make()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.data_state["batches"] == second.batches_consumed == 3 * accumulate
    second.data_loader = starting_at(second.data_loader, second.batches_consumed, second.data_state)
    second.train(second.start_iter, 7)
    assert seen == whole


def test_an_infinite_loss_of_any_accumulated_batch_names_the_iteration():
    trainer = make_trainer(accumulate=2)
    forward, calls = trainer.model.forward, itertools.count()

    def poisoned(x):
        losses = forward(x)
        return {**losses, "loss_b": losses["loss_b"] * (float("inf") if next(calls) == 2 else 1)}

    trainer.model.forward = poisoned
    with pytest.raises(FloatingPointError, match=r"iteration 1: .*loss_b=inf"):
        trainer.train(0, 3)


def test_no_batch_at_all_is_refused():
    with pytest.raises(ValueError, match="accumulate.*got 0"):
        make_trainer(accumulate=0)


@pytest.fixture
def group_of_one():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_processes_exchange_gradients_once_an_iteration():
    model = nn.parallel.DistributedDataParallel(TwoLosses())
    exchanged = []

    def exchange(state, bucket):
        exchanged.append(bucket.buffer().clone())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model.register_comm_hook(None, exchange)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SimpleTrainer(model, Batches(), optimizer, accumulate=4)
    trainer.train(0, 2)
    assert len(exchanged) == 2
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert sorted(exchanged[1].tolist()) == pytest.approx(sorted(gradients.tolist()))


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_six_iterations_equal_three_and_three_resumed_exactly(tmp_path, kind):
    straight = make_trainer(kind)
    straight.register_hooks(hooks())
    straight.train(0, 6)

    first = make_trainer(kind)
    first.register_hooks(hooks())

    class Stop(HookBase):
        def after_step(self):
            if self.trainer.iter == 2:
                Checkpointer(first.model, tmp_path, trainer=first).save("model")
                raise KeyboardInterrupt

    first.register_hooks([Stop()])
    with pytest.raises(KeyboardInterrupt):
        first.train(0, 6)

    second = make_trainer(kind, start=3)
    second.register_hooks(hooks())
    with torch.no_grad():
        second.model.layer.weight.zero_()
    Checkpointer(second.model, tmp_path, trainer=second).resume_or_load("")
    assert second.iter == 2
    second.train(second.iter + 1, 6)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert straight.storage.latest()["lr"] == second.storage.latest()["lr"]
    assert straight.storage.latest()["total_loss"] == second.storage.latest()["total_loss"]


def test_mixed_precision_on_the_cpu_runs_in_bfloat16():
    dtypes = set()
    trainer = make_trainer(AMPTrainer)
    trainer.model.layer.register_forward_hook(lambda m, i, output: dtypes.add(output.dtype))
    trainer.train(0, 1)
    assert dtypes == {torch.bfloat16}
    assert not trainer.grad_scaler.is_enabled()


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_the_precision_can_be_chosen_and_only_float16_is_scaled(precision):
    dtypes = set()
    trainer = make_trainer(AMPTrainer, precision=precision, accumulate=2)
    trainer.model.layer.register_forward_hook(lambda m, i, output: dtypes.add(output.dtype))
    before = trainer.model.layer.weight.clone()
    trainer.train(0, 2)
    assert dtypes == {precision}
    assert trainer.grad_scaler.is_enabled() == (precision == torch.float16)
    assert not torch.equal(before, trainer.model.layer.weight)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="float32"):
        make_trainer(AMPTrainer, precision=torch.float32)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("clip_type", ["value", "norm", "full_model"])
def test_gradients_are_clipped_unscaled_and_hooks_see_them_unscaled(kind, fused, clip_type):
    def trained(scale):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 1))
        optimizer = kind(model.parameters(), lr=0.1, fused=fused)
        add_gradient_clipping(optimizer, clip_type, 0.05)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1)
        trainer = AMPTrainer(
            _Squares(model), Batches(), optimizer, scaler, precision=torch.bfloat16
        )
        gradients = []

        class See(HookBase):
            def after_backward(self):
                gradients.append(model[0].weight.grad.clone())

        trainer.register_hooks([See()])
        trainer.train(0, 2)
        return model[0].weight.detach(), gradients

    (plain, seen), (scaled, seen_scaled) = trained(1), trained(2.0**14)
    assert seen[0].abs().max() > 0.05  # there is something to clip
    torch.testing.assert_close(plain, scaled)
    torch.testing.assert_close(seen, seen_scaled)


class _Squares(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).square().mean()


@pytest.mark.parametrize("before", [SimpleTrainer, AMPTrainer])
def test_mixed_precision_can_be_switched_on_and_off_on_resuming(before):
    trained = make_trainer(before)
    trained.train(0, 2)
    for options in ({}, {"precision": torch.float16}):
        after = make_trainer(AMPTrainer, start=2, **options)
        assert_goes_on(after, copy.deepcopy(trained.state_dict()))
    assert_goes_on(make_trainer(start=2), trained.state_dict())


def assert_goes_on(trainer, state):
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.load_state_dict(state)
    assert trainer.start_iter == 2
    trainer.train(trainer.start_iter, 4)
    assert trainer.iter == 4
    weights = trainer.model.state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    assert any(not torch.equal(value, before[name]) for name, value in weights.items())


def test_a_state_without_the_optimizer_says_that_it_begins_anew(caplog):
    trainer = make_trainer()
    trainer.load_state_dict({"iteration": 4})
    assert "no state of the optimizer" in caplog.text
    assert trainer.start_iter == 5


def test_a_loss_that_is_no_scalar_is_named():
    with pytest.raises(ValueError, match="'loss_x' must be a scalar"):
        LossReadout({"loss_x": torch.zeros(3)})


def test_readout_keeps_names_and_values_of_one_element_losses():
    losses = {"a": torch.tensor([1.5]), "b": torch.tensor(2.0, dtype=torch.float64)}
    assert LossReadout(losses).values() == {"a": 1.5, "b": 2.0}


def test_finite_losses_pass():
    check_finite({"a": 1.0}, 0)
    with pytest.raises(FloatingPointError, match="a=inf"):
        check_finite({"a": float("inf")}, 7)
