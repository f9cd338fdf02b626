"""What an optimizer takes from a checkpoint, and what from its config."""

import copy

import pytest
import torch
from torch import nn

from d2_engine.solver import get_default_optimizer_params
from d2_engine.solver.optimizer_state import load_optimizer_state, optimizer_state


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 1))


def make_optimizer(model, kind=torch.optim.SGD, norm_decay=None, **options):
    params = get_default_optimizer_params(
        model, weight_decay=options.get("weight_decay", 0.1), weight_decay_norm=norm_decay
    )
    return kind(params, **({"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1} | options))


def step(model, optimizer, seed=0):
    optimizer.zero_grad()
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(seed))
    model(x).square().sum().backward()
    optimizer.step()


def trained(**options):
    model = make_model()
    optimizer = make_optimizer(model, **options)
    step(model, optimizer)
    return model, optimizer


def test_the_log_is_silent_and_training_goes_on_exactly_where_nothing_changed(caplog):
    caplog.set_level("INFO")
    model, optimizer = trained(norm_decay=0.0)
    other = make_model()
    other.load_state_dict(model.state_dict())
    resumed = make_optimizer(other, norm_decay=0.0)
    load_optimizer_state(resumed, other, copy.deepcopy(optimizer_state(optimizer, model)))
    step(model, optimizer, seed=1)
    step(other, resumed, seed=1)
    for parameter, same in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, same)
    assert caplog.text == ""


def test_hyper_parameters_stay_those_of_the_config_and_each_change_is_one_line(caplog):
    caplog.set_level("INFO")
    model, optimizer = trained()
    optimizer.param_groups[0].update(initial_lr=0.02, lr=0.0002)  # as a schedule leaves them
    resumed = make_optimizer(model, lr=0.01, momentum=0.5, weight_decay=0.0, nesterov=True)
    load_optimizer_state(resumed, model, optimizer_state(optimizer, model))
    (group,) = resumed.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.5, 0.0)
    buffer = resumed.state[model[0].weight]["momentum_buffer"]
    assert torch.equal(buffer, optimizer.state[model[0].weight]["momentum_buffer"])
    assert [record.getMessage() for record in caplog.records] == [
        "learning rate: 0.02 in the checkpoint, 0.01 now",
        "momentum: 0.9 in the checkpoint, 0.5 now",
        "nesterov: False in the checkpoint, True now",
        "weight decay: 0.1 in the checkpoint, 0.0 now",
    ]


def test_parameters_are_found_by_name_where_the_config_groups_them_in_another_way():
    model, optimizer = trained(norm_decay=0.0)
    assert len(optimizer.param_groups) == 2
    resumed = make_optimizer(model, weight_decay=0.0, norm_decay=0.0)
    assert len(resumed.param_groups) == 1
    load_optimizer_state(resumed, model, optimizer_state(optimizer, model))
    for parameter in model.parameters():
        saved = optimizer.state[parameter]["momentum_buffer"]
        assert torch.equal(resumed.state[parameter]["momentum_buffer"], saved)


def test_a_state_without_names_is_read_by_position():
    model, optimizer = trained()
    resumed = make_optimizer(model)
    load_optimizer_state(resumed, model, optimizer.state_dict())
    assert resumed.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()
    with pytest.raises(
        ValueError, match=r"groups of \[6\] parameters, this one of \[4, 2\].*new run"
    ):
        load_optimizer_state(make_optimizer(model, norm_decay=0.0), model, optimizer.state_dict())


def test_another_kind_of_optimizer_is_refused_with_the_remedy():
    model, optimizer = trained()
    adam = torch.optim.AdamW(model.parameters())
    with pytest.raises(ValueError, match="AdamW has no dampening, momentum, nesterov.*new run"):
        load_optimizer_state(adam, model, optimizer_state(optimizer, model))
    step(model, adam)
    with pytest.raises(ValueError, match="SGD has no .*betas"):
        load_optimizer_state(optimizer, model, optimizer_state(adam, model))


def test_other_trained_parameters_are_refused_by_name():
    model, optimizer = trained()
    state = optimizer_state(optimizer, model)
    model[0].requires_grad_(False)
    with pytest.raises(ValueError, match=r"0\.bias, 0\.weight \(only then\).*frozen parts"):
        load_optimizer_state(make_optimizer(model), model, state)
    partly = optimizer_state(make_optimizer(model), model)
    model[0].requires_grad_(True)
    with pytest.raises(ValueError, match=r"0\.bias, 0\.weight \(only now\)"):
        load_optimizer_state(make_optimizer(model), model, partly)


def test_parameters_outside_the_model_have_no_names_and_come_back_by_position():
    model, extra = make_model(), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([extra, *model.parameters()], lr=0.1, momentum=0.9)
    extra.grad = torch.ones(1)
    step(model, optimizer)
    state = optimizer_state(optimizer, model)
    assert "param_names" not in state["param_groups"][0]
    resumed = torch.optim.SGD([extra, *model.parameters()], lr=0.1, momentum=0.9)
    load_optimizer_state(resumed, model, state)
    assert resumed.state.keys() == optimizer.state.keys()


def test_the_names_are_those_of_the_model_itself_and_torch_reads_the_state():
    model, optimizer = trained()
    compiled = torch.compile(nn.DataParallel(model), backend="eager")
    state = optimizer_state(optimizer, compiled)
    assert state["param_groups"][0]["param_names"] == [n for n, _ in model.named_parameters()]
    plain = make_optimizer(model)
    plain.load_state_dict(state)
    assert plain.state_dict()["state"].keys() == state["state"].keys()
