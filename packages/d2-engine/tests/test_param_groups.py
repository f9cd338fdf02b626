"""Which parameters get which hyper-parameters."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from d2_engine.solver import build_optimizer, get_default_optimizer_params


def make_model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))


def values_of(groups, parameter):
    (group,) = [g for g in groups if any(p is parameter for p in g["params"])]
    return {name: value for name, value in group.items() if name != "params"}


def test_without_overrides_there_is_one_group_with_every_parameter_in_order():
    model = make_model()
    (group,) = get_default_optimizer_params(model)
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))
    assert list(group) == ["params"]


def test_norm_layers_get_their_own_weight_decay():
    model = make_model()
    groups = get_default_optimizer_params(model, weight_decay=1e-4, weight_decay_norm=0.0)
    assert values_of(groups, model[1].weight) == {"weight_decay": 0.0}
    assert values_of(groups, model[1].bias) == {"weight_decay": 0.0}
    assert values_of(groups, model[0].weight) == {"weight_decay": 1e-4}


def test_biases_get_a_factor_and_a_weight_decay():
    model = make_model()
    groups = get_default_optimizer_params(
        model, base_lr=0.1, bias_lr_factor=2.0, weight_decay_bias=0.0
    )
    assert values_of(groups, model[2].bias) == {"lr": 0.2, "weight_decay": 0.0}
    assert values_of(groups, model[2].weight) == {"lr": 0.1}


def test_overrides_apply_to_the_last_part_of_a_name():
    model = nn.ModuleDict({"a": nn.ParameterDict({"embedding": nn.Parameter(torch.zeros(2))})})
    groups = get_default_optimizer_params(
        model, base_lr=0.1, overrides={"embedding": {"lr": 0.01, "weight_decay": 0.1}}
    )
    assert groups[0]["lr"] == 0.01
    assert groups[0]["weight_decay"] == 0.1


def test_rates_can_depend_on_the_full_name():
    model = make_model()
    groups = get_default_optimizer_params(
        model, base_lr=1.0, lr_factor_func=lambda name: 0.5 if name.startswith("0.") else 1.0
    )
    assert values_of(groups, model[0].weight) == {"lr": 0.5}
    assert values_of(groups, model[2].weight) == {"lr": 1.0}


def test_shared_and_frozen_parameters_come_once_and_never():
    model = make_model()
    shared = nn.ModuleList([model[2], model[2]])
    model[2].bias.requires_grad_(False)
    (group,) = get_default_optimizer_params(shared)
    assert len(group["params"]) == 1


def test_contradictory_rules_are_refused():
    model = make_model()
    with pytest.raises(ValueError, match="base_lr"):
        get_default_optimizer_params(model, bias_lr_factor=2.0)
    with pytest.raises(ValueError, match="base_lr"):
        get_default_optimizer_params(model, lr_factor_func=lambda name: 1.0)
    with pytest.raises(ValueError, match="overridden twice"):
        get_default_optimizer_params(model, weight_decay_bias=0.0, overrides={"bias": {"lr": 1}})


def solver_config(**clipping):
    return SimpleNamespace(
        SOLVER=SimpleNamespace(
            BASE_LR=0.1,
            MOMENTUM=0.9,
            NESTEROV=True,
            WEIGHT_DECAY=1e-4,
            WEIGHT_DECAY_NORM=0.0,
            BIAS_LR_FACTOR=1.0,
            WEIGHT_DECAY_BIAS=None,
            CLIP_GRADIENTS=SimpleNamespace(
                **{
                    "ENABLED": False,
                    "CLIP_TYPE": "value",
                    "CLIP_VALUE": 1.0,
                    "NORM_TYPE": 2.0,
                    **clipping,
                }
            ),
        )
    )


def test_build_optimizer_reads_the_solver_section():
    model = make_model()
    optimizer = build_optimizer(solver_config(), model)
    assert isinstance(optimizer, torch.optim.SGD)
    assert values_of(optimizer.param_groups, model[1].weight)["weight_decay"] == 0.0
    group = values_of(optimizer.param_groups, model[0].weight)
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.1, 0.9, True)
    assert group["weight_decay"] == 1e-4


def test_build_optimizer_takes_adam_where_a_config_has_the_choice():
    cfg = solver_config()
    cfg.SOLVER.OPTIMIZER = "ADAM"
    optimizer = build_optimizer(cfg, make_model())
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 0.1
    cfg.SOLVER.OPTIMIZER = "LION"
    with pytest.raises(ValueError, match=r"unknown SOLVER\.OPTIMIZER 'LION'; known: SGD, ADAM"):
        build_optimizer(cfg, make_model())


def test_build_optimizer_takes_factors_on_the_rates():
    model = make_model()
    optimizer = build_optimizer(
        solver_config(), model, lr_factor_func=lambda name: 0.5 if name.startswith("0.") else 1.0
    )
    rates = [values_of(optimizer.param_groups, model[i].weight)["lr"] for i in (0, 2)]
    assert rates == [0.05, 0.1]


@pytest.mark.parametrize(
    ("clip_type", "expected"),
    [
        ("value", [[1.0, 1.0], [0.5, 0.0]]),
        ("norm", [[0.6, 0.8], [0.5, 0.0]]),
        ("full_model", [[0.597, 0.796], [0.0995, 0.0]]),
    ],
)
def test_gradients_are_clipped_when_the_optimizer_steps(clip_type, expected):
    model = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)])
    optimizer = build_optimizer(solver_config(ENABLED=True, CLIP_TYPE=clip_type), model)
    for layer, gradient in zip(model, ([3.0, 4.0], [0.5, 0.0]), strict=True):
        layer.weight.grad = torch.tensor([gradient])
    optimizer.step()
    clipped = [layer.weight.grad[0].tolist() for layer in model]
    assert clipped[0] == pytest.approx(expected[0], rel=1e-3)
    assert clipped[1] == pytest.approx(expected[1], rel=1e-3)


def test_an_unknown_clip_type_is_refused():
    with pytest.raises(ValueError, match="full_model"):
        build_optimizer(solver_config(ENABLED=True, CLIP_TYPE="l2"), make_model())
