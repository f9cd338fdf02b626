"""Make the calls that a config describes."""

import builtins
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .dotted_name import locate, qualified_name
from .errors import ConfigKeyError, did_you_mean
from .key_paths import join
from .lazy_call import TARGET
from .nodes import is_empty, is_mapping, is_sequence, resolved, root_path


def instantiate(cfg: Any) -> Any:
    """Build the object that ``cfg`` describes, and first the objects among its arguments.

    A dictionary with ``_target_`` becomes ``target(**other_keys)``. Lists, and dictionaries that
    hold such descriptions further down, become lists and dictionaries of the built objects.
    Config nodes made from dataclass or attrs objects become these objects. Everything else,
    a dictionary of plain values included, is returned as it is.

    Nothing is shared: each place that describes or refers to a call, ``${...}`` included, makes
    its own object.

    Args:
        cfg: a dict-like object with ``_target_``, or any value.

    Returns:
        The built object, or ``cfg`` where there was nothing to build.

    Raises:
        ImportError: if a ``_target_`` does not name something importable.
        TypeError: if it names something that cannot be called.
        ConfigKeyError: (a ``KeyError``) if an interpolation leads nowhere.
        Exception: what a callable raised, with its name and the key path added.
    """
    return _build(cfg, root_path(cfg))


def _build(cfg: Any, path: str) -> Any:
    if is_empty(cfg):
        return cfg if not cfg._is_none() else None
    if is_sequence(cfg):
        items = [_build(resolved(cfg, i), join(path, i)) for i in range(len(cfg))]
        return tuple(items) if isinstance(cfg, tuple) else items
    if not is_mapping(cfg):
        return cfg
    if TARGET in cfg:
        return _call(cfg, path)
    if isinstance(cfg, DictConfig) and OmegaConf.get_type(cfg) is not dict:
        return _to_object(cfg, path)
    if not _describes_calls(cfg):
        return cfg
    return {key: _build(resolved(cfg, key), join(path, key)) for key in cfg}


def _call(cfg: Any, path: str) -> Any:
    target = _resolve_target(resolved(cfg, TARGET), path)
    arguments = {key: _build(resolved(cfg, key), join(path, key)) for key in cfg if key != TARGET}
    for key in arguments:
        if not isinstance(key, str):
            raise TypeError(f"{join(path, key)}: argument names must be strings, got {key!r}")
    try:
        return target(**arguments)
    except Exception as error:
        context = f"{path or 'the config'}: calling {_name(target)} failed"
        if isinstance(error, TypeError):
            context += _unknown_arguments(target, arguments)
        raise _with_context(error, context)  # noqa: B904 - the helper sets the cause


def _resolve_target(target: Any, path: str) -> Callable[..., Any]:
    if is_mapping(target):
        target = _build(target, join(path, TARGET))
    if isinstance(target, str):
        try:
            target = locate(target)
        except ImportError as error:
            raise ImportError(f"{join(path, TARGET)}: {error}") from error
    if not callable(target):
        raise TypeError(f"{join(path, TARGET)} must name something callable, got {target!r}")
    return target


def _to_object(cfg: DictConfig, path: str) -> Any:
    try:
        return OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        reason = str(error).partition("\n")[0]
        kind = _name(OmegaConf.get_type(cfg))
        raise ValueError(f"{path or 'the config'}: cannot make a {kind}: {reason}") from error


def _describes_calls(cfg: Any) -> bool:
    if is_empty(cfg):
        return False
    if is_sequence(cfg):
        return any(_describes_calls(resolved(cfg, i)) for i in range(len(cfg)))
    if is_mapping(cfg):
        structured = isinstance(cfg, DictConfig) and OmegaConf.get_type(cfg) is not dict
        return structured or TARGET in cfg or any(_describes_calls(resolved(cfg, k)) for k in cfg)
    return False


def _name(target: Any) -> str:
    return qualified_name(target) or getattr(target, "__qualname__", None) or repr(target)


def _unknown_arguments(target: Callable[..., Any], arguments: Iterable[str]) -> str:
    """Name the arguments that ``target`` does not take, and the closest that it does."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return ""
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return ""
    unknown = [name for name in arguments if name not in parameters]
    hints = (f"; it has no argument {n!r}.{did_you_mean(n, parameters)}" for n in unknown)
    return "".join(hints)


def _with_context(error: Exception, context: str) -> Exception:
    """Return an error of the same type that says where it happened, caused by ``error``.

    Types whose constructor we do not know keep their error and get a note.
    """
    message = f"{context}: {error}"
    if isinstance(error, KeyError):
        located: Exception = ConfigKeyError(message)
    elif isinstance(error, OSError) and error.errno is not None:
        located = type(error)(error.errno, f"{context}: {error.strerror}", error.filename)
    elif getattr(builtins, type(error).__name__, None) is type(error) and len(error.args) <= 1:
        located = type(error)(message)
    else:
        error.add_note(context)
        return error
    located.__cause__ = error
    return located
