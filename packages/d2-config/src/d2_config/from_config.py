"""Let a constructor with explicit arguments also be called with a config."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .cfg_node import CfgNode


def configurable(init_func: Any = None, *, from_config: Callable[..., Any] | None = None) -> Any:
    """Decorate ``__init__`` or a function so that it can be called with a config instead.

    ``from_config`` turns the config into explicit arguments; explicit arguments given beside the
    config win over it. ::

        class A:
            @configurable
            def __init__(self, a, b=2, c=3): ...

            @classmethod
            def from_config(cls, cfg):  # the first parameter must be called cfg
                return {"a": cfg.A, "b": cfg.B}

        A(a=1, b=2)          # regular construction
        A(cfg)               # with a config
        A(cfg, b=3, c=4)     # with a config, overriding parts of it

        @configurable(from_config=lambda cfg: {"a": cfg.A, "b": cfg.B})
        def function(a, b=2, c=3): ...

    A call counts as one with a config if its first positional argument, or its keyword argument
    ``cfg``, is a ``CfgNode``, an omegaconf ``DictConfig``, or another mapping whose keys can be
    read as attributes. ``cfg=`` may also be a plain dictionary. Arguments that ``from_config``
    has parameters for go to it; all others go to the decorated function.

    Args:
        init_func: an ``__init__`` whose class has a ``from_config`` classmethod.
        from_config: for functions: a callable that takes the config first.

    Raises:
        TypeError: where it is applied to something else, or ``from_config`` has the wrong form.
    """
    if init_func is not None:
        if not inspect.isfunction(init_func) or init_func.__name__ != "__init__":
            raise TypeError(
                "@configurable without arguments decorates an __init__, got "
                f"{init_func!r}; functions need @configurable(from_config=...)"
            )
        if from_config is not None:
            raise TypeError("a configurable __init__ takes from_config from its class")
        return _configurable_init(init_func)
    if from_config is None:
        return configurable  # written as @configurable()
    if not callable(from_config):
        raise TypeError(f"from_config must be a function, got {from_config!r}")
    return functools.partial(_configurable_function, from_config)


def _configurable_init(init_func: Callable[..., None]) -> Callable[..., None]:
    parameters = inspect.signature(init_func).parameters

    @functools.wraps(init_func)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if not _called_with_config(args, kwargs, parameters):
            init_func(self, *args, **kwargs)
            return
        name = type(self).__name__
        translate = getattr(type(self), "from_config", None)
        if not inspect.ismethod(translate):
            raise TypeError(
                f"{name} was given a config, but has no classmethod from_config to read it"
                if translate is None
                else f"{name}.from_config must be a classmethod"
            )
        init_func(self, **_explicit_arguments(translate, args, kwargs, f"{name}.from_config"))

    return wrapped


def _configurable_function(
    translate: Callable[..., Any], function: Callable[..., Any]
) -> Callable[..., Any]:
    parameters = inspect.signature(function).parameters

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not _called_with_config(args, kwargs, parameters):
            return function(*args, **kwargs)
        label = f"from_config of {function.__name__}"
        return function(**_explicit_arguments(translate, args, kwargs, label))

    wrapped.from_config = translate  # type: ignore[attr-defined]  # documented to users
    return wrapped


def _called_with_config(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], parameters: Mapping[str, Any]
) -> bool:
    if args and _is_config(args[0]):
        return True
    if "cfg" not in kwargs or "cfg" in parameters:
        return False
    return isinstance(kwargs["cfg"], Mapping) or _is_lazy_config(kwargs["cfg"])


def _is_lazy_config(value: Any) -> bool:
    omegaconf = sys.modules.get("omegaconf")  # who has none of its objects need not import it
    return omegaconf is not None and isinstance(value, omegaconf.DictConfig)


def _is_config(value: Any) -> bool:
    if isinstance(value, CfgNode) or _is_lazy_config(value):
        return True
    # A plain dict may be an ordinary first argument. Config classes of other libraries differ
    # from it by giving their keys as attributes.
    if not isinstance(value, Mapping) or type(value) is dict or not value:
        return False
    return all(isinstance(key, str) and hasattr(value, key) for key in value)


def _explicit_arguments(
    translate: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> dict[str, Any]:
    parameters = inspect.signature(translate).parameters
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"the first parameter of {label} must be called cfg, got {[*parameters]}")
    kinds = {parameter.kind for parameter in parameters.values()}
    takes_all = kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    for_translate = kwargs if takes_all else {k: v for k, v in kwargs.items() if k in parameters}
    arguments = translate(*args, **for_translate)
    if not isinstance(arguments, Mapping):
        raise TypeError(f"{label} must return a dictionary of arguments, got {arguments!r}")
    overrides = {name: value for name, value in kwargs.items() if name not in for_translate}
    return {**arguments, **overrides}
