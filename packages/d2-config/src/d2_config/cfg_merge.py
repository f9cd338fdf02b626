"""Work out what merging one set of keys into a config changes."""

import copy
import logging
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ConfigKeyError, ConfigTypeError, did_you_mean
from .nodes import join
from .versions import LATEST_VERSION, current_name

if TYPE_CHECKING:
    from .cfg_node import CfgNode

Where = Callable[[str], str]
"""From a key path to the place, such as ``"file, line 12"``, that its new value comes from."""

Change = tuple["CfgNode", str, Any]
"""A node, one of its keys, and the value that the key is to have."""


def plan_merge(root: "CfgNode", other: Mapping[str, Any], where: Where) -> Iterator[Change]:
    """Yield the assignments that merging ``other`` into ``root`` needs; change nothing.

    Raises:
        ConfigKeyError: (a ``KeyError``) for unknown and renamed keys.
        ConfigTypeError: (a ``TypeError`` and ``ValueError``) for values of another type.
    """
    return _plan(root, other, "", root, where)


def _plan(
    node: "CfgNode", other: Mapping[str, Any], path: str, root: "CfgNode", where: Where
) -> Iterator[Change]:
    for key, value in other.items():
        full_key = join(path, key)
        if not isinstance(key, str):
            raise ConfigTypeError(f"{where(path)}: config keys are strings, got {key!r}")
        if key in node:
            current = node[key]
            if _is_section(current) and isinstance(value, Mapping):
                yield from _plan(current, value, full_key, root, where)
            else:
                yield node, key, _fit(value, current, full_key, where)
        elif node.is_new_allowed():
            yield node, key, _decode(value)
        elif root.key_is_deprecated(full_key):
            logging.getLogger(__name__).warning(
                "%s: the key %s is deprecated and ignored.", where(full_key), full_key
            )
        elif root.key_is_renamed(full_key):
            root.raise_key_rename_error(full_key)
        else:
            raise ConfigKeyError(f"{where(full_key)}: {_unknown(node, key, full_key, root)}")


def _unknown(node: "CfgNode", key: str, full_key: str, root: "CfgNode") -> str:
    text = f"the config has no key {full_key}."
    renamed = current_name(full_key)
    if renamed is not None:
        return f"{text} Since version {LATEST_VERSION} it is called {renamed}."
    hint = did_you_mean(key, node, full_key[: len(full_key) - len(key)])
    elsewhere = [path for path in _paths(root, "") if path.rpartition(".")[2] == key]
    if not hint and elsewhere:
        hint = f" Did you mean {' or '.join(elsewhere[:3])}?"
    return text + hint


def _fit(value: Any, current: Any, full_key: str, where: Where) -> Any:
    """Return ``value`` in the type of ``current``, or raise."""
    if isinstance(value, str) and isinstance(current, str):
        return value
    decoded = _decode(value)
    if _is_section(current):
        wanted = f"a section with the keys {', '.join(current)}"
    elif current is None or decoded is None or type(decoded) is type(current):
        return decoded
    elif isinstance(current, float) and type(decoded) is int:
        return float(decoded)
    elif isinstance(current, (list, tuple)) and isinstance(decoded, (list, tuple)):
        return type(current)(decoded)
    else:
        wanted = f"of type {type(current).__name__}, such as {current!r}"
    raise ConfigTypeError(
        f"{where(full_key)}: {full_key} must be {wanted}; got {value!r} ({type(decoded).__name__})"
    )


def _decode(value: Any) -> Any:
    """Return texts that are Python literals as what they stand for."""
    if isinstance(value, Mapping):
        return {key: _decode(inner) for key, inner in value.items()}
    if isinstance(value, str):
        try:
            return literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return copy.deepcopy(value)


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping)


def _paths(node: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in node.items():
        yield join(path, key)
        if _is_section(value):
            yield from _paths(value, join(path, key))
