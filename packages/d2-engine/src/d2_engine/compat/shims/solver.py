"""Gradient clipping by a config, for optimizers and for classes of them; d2 clips optimizers."""

import itertools
from collections import defaultdict
from enum import Enum
from typing import Any

from torch.optim import Optimizer

from d2_engine.solver import add_gradient_clipping


class GradientClipType(Enum):
    """How ``SOLVER.CLIP_GRADIENTS`` may clip each parameter."""

    VALUE = "value"
    NORM = "norm"


def maybe_add_gradient_clipping(cfg: Any, optimizer: Any) -> Any:
    """Clip gradients as ``cfg.SOLVER.CLIP_GRADIENTS`` says, if it is enabled.

    Args:
        cfg: a config with ``SOLVER``.
        optimizer: an optimizer, which is changed and returned, or a class of them.

    Returns:
        For a class a subclass whose objects clip.
    """
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if not clipping.ENABLED:
        return optimizer
    options = (clipping.CLIP_TYPE, clipping.CLIP_VALUE, clipping.NORM_TYPE)
    if isinstance(optimizer, Optimizer):
        return add_gradient_clipping(optimizer, *options)

    class Clipping(optimizer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            add_gradient_clipping(self, *options)

    Clipping.__name__ = f"{optimizer.__name__}WithGradientClip"
    return Clipping


def _expand_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group for each parameter; the last of a parameter's options count."""
    expanded: dict[Any, dict[str, Any]] = defaultdict(dict)
    for group in params:
        if "params" not in group:
            raise ValueError(f"a parameter group needs 'params', got {sorted(group)}")
        options = {key: value for key, value in group.items() if key != "params"}
        for parameter in group["params"]:
            expanded[parameter].update({"params": [parameter], **options})
    return list(expanded.values())


def reduce_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join groups with the same options."""
    joined: dict[Any, list[Any]] = defaultdict(list)
    for group in _expand_param_groups(params):
        options = tuple((key, value) for key, value in group.items() if key != "params")
        joined[options].append(group["params"])
    return [
        {**dict(options), "params": list(itertools.chain.from_iterable(parameters))}
        for options, parameters in joined.items()
    ]
