"""The state of an optimizer in checkpoints.

What training has gathered (momentum and the like) comes from the checkpoint, hyper-parameters
come from the config of the run: it may have changed since.
"""

import logging
from collections.abc import Iterable, Iterator, Set
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from d2_engine.sharding import divided_like
from d2_engine.wrapped_models import unwrapped

logger = logging.getLogger(__name__)

# How torch computes and what schedulers note; no hyper-parameters.
_NOT_COMPARED = frozenset(
    ("params", "param_names", "initial_lr", "foreach", "fused", "capturable", "differentiable")
)
_SHOWN = 6


class _Slot(NamedTuple):
    """One parameter in a state dict."""

    number: int
    name: str | None
    group: dict[str, Any]


def optimizer_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return the state dict of an optimizer, with the names of its parameters.

    The names stand where torch keeps those of named parameters: ``param_names`` of each group.

    Args:
        optimizer: of parameters of ``model``.
        model: may be wrapped in DistributedDataParallel, or compiled.
    """
    state: dict[str, Any] = optimizer.state_dict()
    names = _names_of_parameters(model)
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        of_group = [names.get(id(parameter)) for parameter in group["params"]]
        if None not in of_group:
            saved["param_names"] = of_group
    return state


def load_optimizer_state(optimizer: Optimizer, model: nn.Module, state: dict[str, Any]) -> None:
    """Restore what :func:`optimizer_state` returned, or a plain state dict.

    Hyper-parameters stay those of ``optimizer``; the log says which were others. Parameters are
    found by name, so they may be grouped in another way; without names, by position.

    Raises:
        ValueError: if the state is of another kind of optimizer, or of other parameters.
    """
    own = optimizer_state(optimizer, model)
    saved_slots, own_slots = list(_slots(state)), list(_slots(own))
    _check_same_kind(optimizer, state["param_groups"], own["param_groups"])
    pairs = _pair(state, own, saved_slots, own_slots)
    _report_changes((saved.group, current.group) for saved, current in pairs)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.load_state_dict(
        {
            "state": {
                current.number: {
                    name: divided_like(value, parameters[current.number])
                    for name, value in state["state"][saved.number].items()
                }
                for saved, current in pairs
                if saved.number in state["state"]
            },
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    )


def report_change(what: str, saved: object, current: object) -> None:
    """Log that a value of the config differs from the one that a checkpoint was made with."""
    logger.info("%s: %s in the checkpoint, %s now", what, saved, current)


def _names_of_parameters(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in unwrapped(model).named_parameters()}


def _slots(state: dict[str, Any]) -> Iterator[_Slot]:
    for group in state["param_groups"]:
        names = group.get("param_names") or [None] * len(group["params"])
        for number, name in zip(group["params"], names, strict=True):
            yield _Slot(number, name, group)


def _check_same_kind(
    optimizer: Optimizer, saved: list[dict[str, Any]], own: list[dict[str, Any]]
) -> None:
    unknown = set().union(*saved) - set().union(*own) - _NOT_COMPARED
    if unknown:
        raise ValueError(
            f"the checkpoint was made with another kind of optimizer: {type(optimizer).__name__} "
            f"has no {', '.join(sorted(unknown))}. {_REMEDY}"
        )


def _pair(
    saved: dict[str, Any], own: dict[str, Any], saved_slots: list[_Slot], own_slots: list[_Slot]
) -> list[tuple[_Slot, _Slot]]:
    by_name = {slot.name: slot for slot in saved_slots if slot.name is not None}
    own_by_name = {slot.name: slot for slot in own_slots if slot.name is not None}
    if len(by_name) == len(saved_slots) and len(own_by_name) == len(own_slots):
        _check_same_parameters(by_name.keys(), own_by_name.keys())
        return [(by_name[name], slot) for name, slot in own_by_name.items()]
    sizes, own_sizes = _sizes(saved), _sizes(own)
    if sizes != own_sizes:
        raise ValueError(
            f"the checkpoint's optimizer has parameter groups of {sizes} parameters, this one of "
            f"{own_sizes}. {_REMEDY}"
        )
    return list(zip(saved_slots, own_slots, strict=True))


def _check_same_parameters(saved: Set[str], own: Set[str]) -> None:
    added, gone = sorted(own - saved), sorted(saved - own)
    if added or gone:
        raise ValueError(
            "the checkpoint's optimizer trained other parameters than this one does: "
            f"{_named(added, 'only now')}{'; ' if added and gone else ''}"
            f"{_named(gone, 'only then')}. {_REMEDY}"
        )


_REMEDY = (
    "Resume with the optimizer and the frozen parts that it was trained with, or begin a new run "
    "with its weights"
)


def _sizes(state: dict[str, Any]) -> list[int]:
    return [len(group["params"]) for group in state["param_groups"]]


def _named(names: list[str], when: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more} ({when})"


def _report_changes(groups: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Log one line for each hyper-parameter that changed."""
    changes: dict[str, dict[tuple[Any, Any], None]] = {}
    # Many parameters share a pair of groups.
    distinct = {(id(saved), id(own)): (saved, own) for saved, own in groups}
    for saved, own in distinct.values():
        for name in (own.keys() & saved.keys()) - _NOT_COMPARED:
            pair = (_initial(saved, name), _initial(own, name))
            if pair[0] != pair[1]:
                changes.setdefault(name, {})[pair] = None
    for name, pairs in sorted(changes.items()):
        what = "learning rate" if name == "lr" else name.replace("_", " ")
        then, now = (", ".join(str(pair[side]) for pair in pairs) for side in (0, 1))
        report_change(what, then, now)


def _initial(group: dict[str, Any], name: str) -> Any:
    """The value of a hyper-parameter; the learning rate before any schedule."""
    value = group.get("initial_lr", group["lr"]) if name == "lr" else group[name]
    if isinstance(value, Tensor):
        return value.item()
    return tuple(value) if isinstance(value, list) else value
