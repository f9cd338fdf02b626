"""One step of training: losses, gradients, update, metrics."""

import itertools

import pytest
import torch
from torch import nn

from d2_engine import AMPTrainer, HookBase, SimpleTrainer
from d2_engine.checkpoint import Checkpointer
from d2_engine.hooks import IterationSeed, LRScheduler
from d2_engine.loss_readout import LossReadout, check_finite
from d2_engine.solver import CosineParamScheduler


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


def make_trainer(kind=SimpleTrainer, start=0, **options):
    model = TwoLosses()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return kind(model, Batches(start), optimizer, **options)


def test_a_step_is_the_update_that_torch_makes_by_hand():
    trainer = make_trainer()
    trainer.model.dropout.p = 0.0
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
    trainer = make_trainer(zero_grad_before_forward=early)
    gradients = []

    class Look(HookBase):
        def after_backward(self):
            gradients.append(trainer.model.layer.weight.grad.clone())

    trainer.register_hooks([Look()])
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    trainer.model.dropout.p = 0.0
    trainer.train(0, 2)
    losses = trainer.model(next(iter(Batches(1))))
    expected = torch.autograd.grad(sum(losses.values()), trainer.model.layer.weight)[0]
    assert torch.allclose(gradients[1], expected)


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
