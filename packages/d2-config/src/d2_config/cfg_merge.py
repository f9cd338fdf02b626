"""Work out what merging one set of keys into a config changes."""

import copy
import logging
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ConfigKeyError, ConfigTypeError
from .key_paths import closest_paths, join
from .versions import LATEST_VERSION, current_name

if TYPE_CHECKING:
    from .cfg_node import CfgNode

Where = Callable[[str], str]
"""From a key path to the place, such as ``"file, line 12"``, that its new value comes from."""

Change = tuple["CfgNode", str, Any]
"""A node, one of its keys, and the value that the key is to have."""


def plan_merge(
    root: "CfgNode", other: Mapping[str, Any], where: Where, *, typed: bool = False
) -> Iterator[Change]:
    """Yield the assignments that merging ``other`` into ``root`` needs; change nothing.

    Args:
        root: the config.
        other: nested keys and values.
        where: tells the place of each key, for messages.
        typed: whether texts were typed on a command line, where a text may be quoted, and
            ``None`` is None, also for a key that holds a text.

    Raises:
        ConfigKeyError: (a ``KeyError``) for unknown and renamed keys.
        ConfigTypeError: (a ``TypeError`` and ``ValueError``) for values of another type.
    """
    return _Merge(root, where, typed).plan(root, other, "")


class _Merge:
    def __init__(self, root: "CfgNode", where: Where, typed: bool) -> None:
        self.root = root
        self.where = where
        self.typed = typed

    def plan(self, node: "CfgNode | None", other: Mapping[str, Any], path: str) -> Iterator[Change]:
        """Yield the changes of the section at ``path``; ``None`` stands for one that is unknown."""
        for key, value in other.items():
            full_key = join(path, key)
            if not isinstance(key, str):
                raise ConfigTypeError(f"{self.where(path)}: config keys are strings, got {key!r}")
            if node is not None and key in node:
                if _is_section(node[key]) and _is_section(value):
                    yield from self.plan(node[key], value, full_key)
                else:
                    yield node, key, self._fit(value, node[key], full_key)
            elif node is not None and node.is_new_allowed():
                yield node, key, self._decode(value)
            else:
                yield from self._unknown(full_key, value)

    def _unknown(self, full_key: str, value: Any) -> Iterator[Change]:
        """Raise, naming the innermost key; or yield nothing for what is to be ignored."""
        if self.root.key_is_deprecated(full_key):
            logging.getLogger(__name__).warning(
                "%s: the key %s is deprecated and ignored.", self.where(full_key), full_key
            )
        elif self.root.key_is_renamed(full_key):
            self.root.raise_key_rename_error(full_key)
        elif _is_section(value) and value:
            yield from self.plan(None, value, full_key)
        else:
            text = f"{self.where(full_key)}: the config has no key {full_key}."
            renamed = current_name(full_key)
            if renamed is not None:
                text += f" Since version {LATEST_VERSION} it is called {renamed}."
            else:
                text += closest_paths(full_key, _paths(self.root, ""))
            raise ConfigKeyError(text)

    def _fit(self, value: Any, current: Any, full_key: str) -> Any:
        """Return ``value`` in the type of ``current``, or raise."""
        if isinstance(value, str) and isinstance(current, str):
            return _unquoted(value) if self.typed else value
        decoded = self._decode(value)
        remedy = ""
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
            if isinstance(current, str) and isinstance(decoded, (bool, int, float)):
                remedy = "; if a text is meant, quote it"
        raise ConfigTypeError(
            f"{self.where(full_key)}: {full_key} must be {wanted}; "
            f"got {value!r} ({type(decoded).__name__}){remedy}"
        )

    def _decode(self, value: Any) -> Any:
        is_none = self.typed and isinstance(value, str) and value in _TYPED_NONE
        return None if is_none else _decode(value)


_TYPED_NONE = ("null", "~")
"""How YAML and Hydra write None; ``None`` itself is a literal."""


def _unquoted(text: str) -> str | None:
    """Return a typed text without its quotes, and None for ``None``."""
    literal = _decode(text)
    return literal if literal is None or isinstance(literal, str) else text


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
