"""Averaged weights: kept, saved, resumed, evaluated, loaded."""

import itertools

import pytest
import torch
from torch import nn

from d2_engine import SimpleTrainer
from d2_engine.checkpoint import Checkpointer, ema_weights, read_checkpoint
from d2_engine.hooks import EMA, CallbackHook


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x):
        return (self.norm(self.layer(x)) * self.frozen - 1).square().mean()


def batches(start=0):
    for index in itertools.count(start):
        yield torch.rand(4, 2, generator=torch.Generator().manual_seed(index))


def make_trainer(start=0, **options):
    model = Net()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    ema = EMA(model, **options)
    return SimpleTrainer(model, batches(start), optimizer), ema


def parameters(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_follows_its_formula_from_the_initial_weights_on(warmup):
    trainer, ema = make_trainer(decay=0.6, warmup=warmup)
    expected = parameters(trainer.model)

    def average(trainer):
        decay = min(0.6, (1 + trainer.iter) / (10 + trainer.iter)) if warmup else 0.6
        for name, value in parameters(trainer.model).items():
            expected[name] = decay * expected[name] + (1 - decay) * value

    trainer.register_hooks([ema, CallbackHook(after_step=average)])
    trainer.train(0, 12)
    with ema.applied():
        torch.testing.assert_close(parameters(trainer.model), expected)
    assert not torch.equal(expected["layer.weight"], trainer.model.layer.weight)


def test_the_averages_are_applied_for_a_while_and_the_weights_come_back_exactly():
    trainer, ema = make_trainer(decay=0.9)
    before = parameters(trainer.model)
    with ema.applied():
        assert torch.equal(trainer.model.layer.weight, before["layer.weight"])
    trainer.register_hooks([ema])
    trainer.train(0, 3)
    state, weights = ema.state_dict(), parameters(trainer.model)
    averages = {name: value.clone() for name, value in state["averaged_weights"].items()}

    def evaluate():
        with ema.applied():
            assert all(torch.equal(v, averages[k]) for k, v in parameters(trainer.model).items())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert all(torch.equal(v, weights[k]) for k, v in parameters(trainer.model).items())
    assert all(torch.equal(v, averages[k]) for k, v in ema.state_dict()["averaged_weights"].items())


@pytest.mark.parametrize("loaded_first", [False, True])
def test_a_resumed_average_equals_that_of_a_run_that_was_never_stopped(tmp_path, loaded_first):
    straight, ema = make_trainer(decay=0.9)
    straight.register_hooks([ema])
    straight.train(0, 6)

    first, first_ema = make_trainer(decay=0.9)
    first.register_hooks([first_ema])
    first.train(0, 3)
    Checkpointer(first.model, tmp_path, trainer=first).save("model")

    second, second_ema = make_trainer(start=3, decay=0.9)
    checkpointer = Checkpointer(second.model, tmp_path, trainer=second)
    if loaded_first:
        checkpointer.resume_or_load("")
    second.register_hooks([second_ema])
    if not loaded_first:
        checkpointer.resume_or_load("")
    second.train(second.start_iter, 6)
    for name, value in ema.state_dict()["averaged_weights"].items():
        assert torch.equal(value, second_ema.state_dict()["averaged_weights"][name]), name


def test_a_checkpoint_gives_the_averages_with_the_buffers_as_a_state_dict(tmp_path):
    trainer, ema = make_trainer(decay=0.9)
    trainer.register_hooks([ema])
    trainer.train(0, 3)
    Checkpointer(trainer.model, tmp_path, trainer=trainer).save("model")
    path = str(tmp_path / "model.pth")
    averaged = ema_weights(read_checkpoint(path))
    assert averaged is not None
    assert averaged.keys() == trainer.model.state_dict().keys()
    assert torch.equal(averaged["norm.running_mean"], trainer.model.norm.running_mean)

    last, preferred, started = Net(), Net(), Net()
    Checkpointer(last).load(path)
    Checkpointer(preferred).load(path, prefer_ema=True)
    Checkpointer(started, tmp_path / "new").resume_or_load(path)
    assert torch.equal(last.layer.weight, trainer.model.layer.weight)
    with ema.applied():
        for model in (preferred, started):
            assert torch.equal(model.layer.weight, trainer.model.layer.weight)


def test_a_checkpoint_without_averages_gives_its_weights(tmp_path):
    trainer, _ = make_trainer()
    trainer.train(0, 1)
    Checkpointer(trainer.model, tmp_path, trainer=trainer).save("model")
    path = str(tmp_path / "model.pth")
    assert ema_weights(read_checkpoint(path)) is None
    other = Net()
    Checkpointer(other).load(path, prefer_ema=True)
    assert torch.equal(other.layer.weight, trainer.model.layer.weight)


def test_averages_of_another_model_are_refused():
    trainer, ema = make_trainer()
    trainer.register_hooks([ema])
    trainer.train(0, 1)
    for other, name in ((nn.Linear(2, 3), "bias"), (nn.ModuleDict({"layer": nn.Linear(4, 3)}), "")):
        with pytest.raises(ValueError, match=f"not those of this model, beginning with '{name}"):
            EMA(other).load_state_dict(ema.state_dict())


def test_the_averages_take_no_more_space_in_a_file_than_once(tmp_path):
    sizes = []
    for decay in (None, 0.9):
        model = nn.Linear(300, 300)
        trainer = SimpleTrainer(
            _Mean(model),
            iter(lambda: torch.rand(1, 300), None),
            torch.optim.SGD(model.parameters()),
        )
        trainer.register_hooks([EMA(trainer.model, decay)] if decay else [])
        trainer.train(0, 1)
        Checkpointer(trainer.model, tmp_path, trainer=trainer).save("model")
        sizes.append((tmp_path / "model.pth").stat().st_size)
    assert sizes[1] - sizes[0] < 1.1 * 4 * 300 * 301


class _Mean(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).mean()


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=f"0.9998; got {decay}"):
        EMA(Net(), decay)
