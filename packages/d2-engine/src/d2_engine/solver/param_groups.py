"""Parameter groups of an optimizer, from a few rules on module and parameter names."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

NORM_MODULES: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
    *,
    lr_factor_func: Callable[[str], float] | None = None,
) -> list[dict[str, Any]]:
    """Sort a model's trainable parameters into groups with the same hyper-parameters.

    Without any override the result is equivalent to ``model.parameters()``. For detection
    models ``weight_decay_norm`` is usually all that is needed.

    Args:
        model: parameters with ``requires_grad`` false are left out; shared ones come once.
        base_lr: learning rate of every group; omitted, the optimizer's own applies.
        weight_decay: weight decay of every group; omitted, the optimizer's own applies.
        weight_decay_norm: weight decay of the parameters of normalisation layers.
        bias_lr_factor: factor on ``base_lr`` for parameters named ``bias``.
        weight_decay_bias: weight decay of parameters named ``bias``.
        overrides: last part of a parameter's name -> values of its group, e.g.
            ``{"embedding": {"lr": 0.01, "weight_decay": 0.1}}``.
        lr_factor_func: full parameter name -> factor on ``base_lr``.

    Returns:
        Groups for any torch optimizer: dicts with ``params`` and the values that were given.

    Raises:
        ValueError: if a learning-rate factor is given without ``base_lr``, or ``bias``
            is overridden in two ways.

    Example:
        >>> torch.optim.SGD(get_default_optimizer_params(model, weight_decay_norm=0), lr=0.01)
    """
    overrides = dict(overrides or {})
    bias_values = _bias_values(base_lr, bias_lr_factor, weight_decay_bias)
    if bias_values:
        if "bias" in overrides:
            raise ValueError(
                "parameters named 'bias' are overridden twice: by `overrides` and by "
                "`bias_lr_factor` or `weight_decay_bias`; use one of the two"
            )
        overrides["bias"] = bias_values
    if lr_factor_func is not None and base_lr is None:
        raise ValueError("`lr_factor_func` scales `base_lr`, which was not given")

    defaults = {
        name: value
        for name, value in (("lr", base_lr), ("weight_decay", weight_decay))
        if value is not None
    }
    groups: dict[tuple[tuple[str, float], ...], dict[str, Any]] = {}
    for module, name, full_name, parameter in _trainable_parameters(model):
        values = dict(defaults)
        if isinstance(module, NORM_MODULES) and weight_decay_norm is not None:
            values["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None:
            values["lr"] *= lr_factor_func(full_name)
        values.update(overrides.get(name, {}))
        key = tuple(sorted(values.items()))
        groups.setdefault(key, {"params": [], **values})["params"].append(parameter)
    return list(groups.values())


def _bias_values(
    base_lr: float | None, lr_factor: float | None, weight_decay: float | None
) -> dict[str, float]:
    values = {}
    if lr_factor is not None and lr_factor != 1.0:
        if base_lr is None:
            raise ValueError("`bias_lr_factor` scales `base_lr`, which was not given")
        values["lr"] = base_lr * lr_factor
    if weight_decay is not None:
        values["weight_decay"] = weight_decay
    return values


def _trainable_parameters(
    model: nn.Module,
) -> Iterator[tuple[nn.Module, str, str, nn.Parameter]]:
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                full_name = f"{module_name}.{name}" if module_name else name
                yield module, name, full_name, parameter
