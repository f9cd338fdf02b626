"""Apply Hydra-style overrides, ``train.max_iter=100``, to a lazy config."""

import re
from ast import literal_eval
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from .errors import ConfigKeyError
from .key_paths import closest_paths, join
from .nodes import is_empty, is_mapping, is_sequence, resolved, written, written_children

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Change ``cfg`` in place.

    ======================  ======================================================
    ``a.b=1``               change a value that exists; a mapping is merged into
    ``+a.b=1``              add a value that does not exist yet
    ``++a.b=1``             change or add, whatever is there
    ``~a.b``, ``~a.b=1``    delete; the second form only if the value is 1
    ======================  ======================================================

    Values may also be written as in Python: ``None`` (like ``null`` and ``~``), ``True``, and
    ``(1, 2)`` or ``{'a': (1, 2)}``, whose tuples become lists. Quoted, ``'None'``, they are text;
    a quoted number for a key that holds a number is a number.

    Args:
        cfg: a config node.
        overrides: texts in Hydra's basic override grammar
            (https://hydra.cc/docs/advanced/override_grammar/basic/).

    Returns:
        ``cfg`` itself.

    Raises:
        ConfigKeyError: (a ``KeyError``) for a key that does not exist; names the closest keys of
            the whole config.
        TypeError: for a value of another kind than the one it replaces.
        ValueError: for text that is not an override; ``cfg`` is unchanged then.
    """
    if isinstance(overrides, str):
        raise TypeError(f"overrides must be a list of strings, got the string {overrides!r}")
    for change in [_parse(text) for text in overrides]:
        change.apply(cfg)
    return cfg


def override_pairs(overrides: Sequence[str]) -> list[str]:
    """Return overrides of a yacs-style config as ``merge_from_list`` takes them.

    Args:
        overrides: ``KEY=VALUE`` texts, or keys and values in turn: ``KEY VALUE``.

    Raises:
        ValueError: if it is neither.
    """
    if overrides and len(overrides) % 2 == 0 and "=" not in overrides[0]:
        return list(overrides)
    pairs: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ValueError(f"cannot understand the override {text!r}; write KEY=VALUE")
        pairs += [key, value]
    return pairs


def _parse(text: str) -> "_Change":
    from hydra.errors import HydraException

    key, equals, value = text.partition("=")
    try:
        try:
            override = _hydra_override(key + equals + value)
            # Its value() would no longer tell what was quoted.
            change = _Change(text, override, _plain(override._value))
        except HydraException:
            literal = _python_literal(value)
            if literal is _NO_LITERAL:
                raise
            override = _hydra_override(f"{key}=null")
            change = _Change(text, override, literal)
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"cannot understand the override {text!r}: {reason}. "
            "Write key.path=value, a list as [a,b]; quote values that hold special characters"
        ) from error
    if override.is_sweep_override():
        raise ValueError(
            f"the override {text!r} describes a sweep over several values; "
            "write a list as [a,b], a text with commas as 'a,b'"
        )
    if not override.key_or_group:
        raise ValueError(f"cannot understand the override {text!r}: the key is missing")
    if override.package is not None:
        raise ValueError(f"the override {text!r} has an @package, which configs here do not have")
    return change


def _hydra_override(text: str) -> "Override":
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key, equals, value = text.partition("=")
    dotted = re.sub(r"\[(\d+)\]", r".\1", key)  # the grammar knows a.0, we print a[0]
    return OverridesParser.create().parse_override(dotted + equals + value)


def _plain(value: Any) -> Any:
    """Return a value that Hydra parsed, with ``None`` as None where it was not quoted."""
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, QuotedString):
        return value.text
    return None if value == "None" else value


_NO_LITERAL = object()


def _python_literal(text: str) -> Any:
    """Return what a value that is not in Hydra's grammar stands for in Python's, or in YAML's."""
    if text.strip() == "~":
        return None
    try:
        literal = literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _NO_LITERAL
    return _lists(literal) if isinstance(literal, (tuple, list, dict)) else _NO_LITERAL


def _lists(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


class _Mode(Enum):
    CHANGE = "change"
    ADD = "add"
    FORCE = "force"
    DELETE = "delete"


class _Change:
    """One override on its way into a config."""

    def __init__(self, text: str, override: "Override", value: Any) -> None:
        from hydra.core.override_parser.types import OverrideType

        self.text = text
        self.key = override.key_or_group
        self.value = value
        self.has_value = override.value_type is not None
        self.mode = {
            OverrideType.CHANGE: _Mode.CHANGE,
            OverrideType.ADD: _Mode.ADD,
            OverrideType.FORCE_ADD: _Mode.FORCE,
            OverrideType.DEL: _Mode.DELETE,
        }[override.type]

    def apply(self, cfg: DictConfig) -> None:
        parts = self.key.split(".")
        node, path = cfg, ""
        for depth in range(len(parts) - 1):
            node, path = self._descend(cfg, node, parts[depth:], path)
        key = self._index(node, parts[-1], path)
        try:
            if self.mode is _Mode.DELETE:
                self._delete(cfg, node, key, path)
            else:
                self._set(cfg, node, key, self.value, path)
        except OmegaConfBaseException as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(f"override {self.text!r}: {reason}") from error

    def _descend(
        self, cfg: DictConfig, node: Any, parts: Sequence[str], path: str
    ) -> tuple[Any, str]:
        part, *rest = parts
        key = self._index(node, part, path)
        inner_path = join(path, key)
        if not _has(node, key):
            if self.mode not in (_Mode.ADD, _Mode.FORCE):
                raise self._unknown(cfg, ".".join([inner_path, *rest]))
            node[key] = {}
        child = resolved(node, key)
        if child is None and self.mode in (_Mode.ADD, _Mode.FORCE):
            node[key] = {}
            child = node[key]
        if not isinstance(child, (DictConfig, ListConfig)):
            raise ConfigKeyError(
                f"override {self.text!r}: {inner_path} is {child!r}, it has no keys of its own"
            )
        return child, inner_path

    def _index(self, node: Any, part: str, path: str) -> Any:
        if not isinstance(node, ListConfig):
            return part
        if not part.lstrip("-").isdigit() or not -len(node) <= int(part) < len(node):
            raise ConfigKeyError(
                f"override {self.text!r}: {path} is a list of {len(node)}, "
                f"{part!r} is not an index into it"
            )
        return int(part)

    def _delete(self, cfg: DictConfig, node: Any, key: Any, path: str) -> None:
        if not _has(node, key):
            raise self._unknown(cfg, join(path, key))
        if self.has_value and written(node, key) != self.value:
            raise ValueError(
                f"override {self.text!r}: {join(path, key)} is {written(node, key)!r}, "
                "so it is not deleted"
            )
        del node[key]

    def _set(self, cfg: DictConfig, node: Any, key: Any, value: Any, path: str) -> None:
        exists = _has(node, key)
        if self.mode is _Mode.CHANGE and not exists:
            raise self._unknown(cfg, join(path, key))
        current = written(node, key) if exists else None
        both_mappings = is_mapping(value) and is_mapping(current) and not is_empty(current)
        if self.mode is _Mode.ADD and exists and not both_mappings:
            raise ConfigKeyError(
                f"override {self.text!r}: {join(path, key)} exists already, it is {current!r}; "
                "leave out the '+' to change it"
            )
        if both_mappings:
            for inner_key, inner_value in value.items():
                self._set(cfg, current, inner_key, inner_value, join(path, key))
            return
        if self.mode is _Mode.CHANGE:
            value = self._fit(current, value, join(path, key))
        node[key] = value

    def _fit(self, current: Any, value: Any, path: str) -> Any:
        """Return ``value``, a quoted number for a number as one.

        Refuse what is nearly always a slip: text for a number, a scalar for a mapping.
        """
        if value is None or (isinstance(value, str) and "${" in value):
            return value
        if isinstance(current, (int, float)) and isinstance(value, str):
            value = _number(value)
        if isinstance(current, (bool, int, float)):
            fits = isinstance(value, (bool, int, float, list))
        else:
            fits = is_mapping(value) or not is_mapping(current)
        if not fits:
            wanted = "a mapping" if is_mapping(current) else f"a {type(current).__name__}"
            raise TypeError(
                f"override {self.text!r}: {path} is {wanted}, got {value!r} "
                f"({type(value).__name__}). If that is meant, force it with "
                f"'++{self.text}'"
            )
        return value

    def _unknown(self, cfg: DictConfig, path: str) -> ConfigKeyError:
        message = f"override {self.text!r}: the config has no key {path}."
        message += closest_paths(path, _paths(cfg))
        if self.mode is _Mode.CHANGE:
            message += f" To add a new key, write '+{self.text}'."
        return ConfigKeyError(message)


def _number(text: str) -> Any:
    try:
        number = literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return number if type(number) in (int, float) else text


def _has(node: Any, key: Any) -> bool:
    # `key in node` is false for a key whose interpolation leads nowhere.
    return key in list(node.keys()) if is_mapping(node) else True


def _paths(node: Any, path: str = "") -> Iterator[str]:
    for key, child in written_children(node):
        child_path = join(path, key)
        yield child_path
        if is_mapping(child) or is_sequence(child):
            yield from _paths(child, child_path)
