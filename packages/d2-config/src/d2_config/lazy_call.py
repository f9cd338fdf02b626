"""Describe a call instead of making it."""

import functools
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import attrs
from omegaconf import DictConfig

from .dotted_name import qualified_name
from .nodes import as_config

TARGET = "_target_"


class LazyCall:
    """Wrap a callable; calling the wrapper returns a config node that describes the call.

    ::

        layer_cfg = LazyCall(nn.Conv2d)(in_channels=32, out_channels=32, kernel_size=1)
        layer_cfg.out_channels = 64  # can be edited afterwards
        layer = instantiate(layer_cfg)

    The node holds the arguments and, under ``_target_``, the callable's dotted name. A callable
    that cannot be imported by name, such as a lambda, is held itself.

    Args:
        target: a callable, its dotted name, or a node that describes a call returning one.

    Raises:
        TypeError: if ``target`` is none of these, or the wrapper is called with positional
            arguments.
    """

    def __init__(self, target: Callable[..., Any] | str | DictConfig) -> None:
        if not (callable(target) or isinstance(target, (str, dict, DictConfig))):
            raise TypeError(
                f"LazyCall needs a callable, its dotted name or a lazy call that returns one, "
                f"got {target!r}"
            )
        self._target = target

    def __call__(self, *args: Any, **kwargs: Any) -> DictConfig:
        target = self._target
        if callable(target):
            # omegaconf would take a dataclass or attrs class for a description of a config.
            held = functools.partial(target) if _is_record(target) else target
            target = qualified_name(target) or held
        if args:
            raise TypeError(
                f"LazyCall({target})(...) takes keyword arguments only, got positional {args!r}; "
                "name each argument so that it can be overridden by its name"
            )
        if TARGET in kwargs:
            raise TypeError(f"the argument name {TARGET!r} is reserved")
        return as_config({TARGET: target, **kwargs})


def _is_record(target: Any) -> bool:
    return isinstance(target, type) and (is_dataclass(target) or attrs.has(target))
