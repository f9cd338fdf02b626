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
from .trusted_targets import (
    UntrustedTargetError,
    is_untrusted,
    locate_trusted,
    with_checked_arguments,
)


def instantiate(cfg: Any) -> Any:
    """Build the object that ``cfg`` describes, and first the objects among its arguments.

    A dictionary with ``_target_`` becomes ``target(**other_keys)``. Lists, and dictionaries that
    hold such descriptions further down, become lists and dictionaries of the built objects.
    Config nodes made from dataclass or attrs objects become these objects. Everything else,
    a dictionary of plain values included, is returned as it is.

    Of a config that was read from a YAML file only trusted targets are called: see
    :func:`~d2_config.trust_targets`.

    Nothing is shared: each place that describes or refers to a call, ``${...}`` included, makes
    its own object.

    Args:
        cfg: a dict-like object with ``_target_``, or any value.

    Returns:
        The built object, or ``cfg`` where there was nothing to build.

    Raises:
        ImportError: if a ``_target_`` does not name something importable.
        UntrustedTargetError: (a ``ValueError``) if a file names something that is not trusted.
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
    target = _resolve_target(cfg, path)
    arguments = {key: _build(resolved(cfg, key), join(path, key)) for key in cfg if key != TARGET}
    for key in arguments:
        if not isinstance(key, str):
            raise TypeError(f"{join(path, key)}: argument names must be strings, got {key!r}")
    try:
        return _guarded(cfg, target)(**arguments)
    except Exception as error:
        context = f"{path or 'the config'}: calling {_name(target)} failed"
        if isinstance(error, TypeError):
            context += _unknown_arguments(target, arguments)
        raise _with_context(error, context)  # noqa: B904 - the helper sets the cause


def target_of(cfg: Any) -> Callable[..., Any]:
    """Return what a node with ``_target_`` calls.

    Raises:
        ImportError, TypeError, UntrustedTargetError: as :func:`instantiate`.
    """
    return _guarded(cfg, _resolve_target(cfg, root_path(cfg)))


def locate_for(cfg: Any, name: str) -> Any:
    """Import what a dotted name in a config stands for, if the config may name it.

    Raises:
        ImportError: if there is no such object.
        UntrustedTargetError: (a ``ValueError``) if the config was read from a file, and it is not
            trusted.
    """
    return locate_trusted(name) if is_untrusted(cfg) else locate(name)


def _resolve_target(cfg: Any, path: str) -> Callable[..., Any]:
    target = resolved(cfg, TARGET)
    if is_mapping(target):
        target = _build(target, join(path, TARGET))
    if isinstance(target, str):
        try:
            target = locate_for(cfg, target)
        except (ImportError, UntrustedTargetError) as error:
            raise type(error)(f"{join(path, TARGET)}: {error}") from error
    if not callable(target):
        raise TypeError(f"{join(path, TARGET)} must name something callable, got {target!r}")
    return target


def _guarded(cfg: Any, target: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is called in place of a target of a file that could be made to do more."""
    if not is_untrusted(cfg):
        return target
    if target is locate:
        return locate_trusted
    return with_checked_arguments(target)


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
    names = _argument_names(target)
    if names is None:
        return ""
    unknown = [name for name in arguments if name not in names]
    hints = (f"; it has no argument {n!r}.{did_you_mean(n, names)}" for n in unknown)
    return "".join(hints)


def _argument_names(target: Callable[..., Any]) -> set[str] | None:
    """The arguments of a function, or of a class with those of its bases; None if it takes any."""
    bases = target.__mro__[1:] if isinstance(target, type) else ()
    makers = [target, *(vars(base)["__init__"] for base in bases if "__init__" in vars(base))]
    names: set[str] = set()
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters
        except (TypeError, ValueError):  # some builtins have no signature
            return None
        names |= parameters.keys()
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            return names
    return None


def _with_context(error: Exception, context: str) -> Exception:
    """Return an error of the same type that says where it happened, caused by ``error``.

    Types whose constructor we do not know keep their error and get a note.
    """
    message = f"{context}: {error}"
    if isinstance(error, KeyError):
        located: Exception = ConfigKeyError(message)
    elif isinstance(error, UntrustedTargetError):
        located = UntrustedTargetError(message)
    elif isinstance(error, OSError) and error.errno is not None:
        located = type(error)(error.errno, f"{context}: {error.strerror}", error.filename)
    elif getattr(builtins, type(error).__name__, None) is type(error) and len(error.args) <= 1:
        located = type(error)(message)
    else:
        error.add_note(context)
        return error
    located.__cause__ = error
    return located
