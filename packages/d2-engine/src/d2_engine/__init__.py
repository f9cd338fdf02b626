"""Training, evaluating and using detectors; the ``d2`` command.

The public names are imported when they are first asked for: ``d2 --help`` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2_engine.launcher import launch
    from d2_engine.train_loop import HookBase, TrainerBase
    from d2_engine.trainers import AMPTrainer, SimpleTrainer

__all__ = [
    "AMPTrainer",
    "HookBase",
    "SimpleTrainer",
    "TrainerBase",
    "launch",
]

_HOMES = {
    "AMPTrainer": "trainers",
    "HookBase": "train_loop",
    "SimpleTrainer": "trainers",
    "TrainerBase": "train_loop",
    "launch": "launcher",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
