"""Apply Hydra-style overrides, ``train.max_iter=100``, to a lazy config."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from .errors import ConfigKeyError, did_you_mean
from .nodes import is_empty, is_mapping, is_sequence, join, resolved, written, written_children

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

    Args:
        cfg: a config node.
        overrides: texts in Hydra's basic override grammar
            (https://hydra.cc/docs/advanced/override_grammar/basic/).

    Returns:
        ``cfg`` itself.

    Raises:
        ConfigKeyError: (a ``KeyError``) for a key that does not exist; names close matches.
        TypeError: for a value of another kind than the one it replaces.
        ValueError: for text that is not an override; ``cfg`` is unchanged then.
    """
    if isinstance(overrides, str):
        raise TypeError(f"overrides must be a list of strings, got the string {overrides!r}")
    for text, override in [(text, _parse(text)) for text in overrides]:
        _Change(text, override).apply(cfg)
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


def _parse(text: str) -> "Override":
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        key, equals, value = text.partition("=")
        dotted = re.sub(r"\[(\d+)\]", r".\1", key)  # the grammar knows a.0, we print a[0]
        override = OverridesParser.create().parse_override(dotted + equals + value)
        sweep = override.is_sweep_override()
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"cannot understand the override {text!r}: {reason}. "
            "Write key.path=value; quote values that hold special characters"
        ) from error
    if sweep:
        raise ValueError(
            f"the override {text!r} describes a sweep over several values; "
            "write a list as [a,b], a text with commas as 'a,b'"
        )
    if not override.key_or_group:
        raise ValueError(f"cannot understand the override {text!r}: the key is missing")
    if override.package is not None:
        raise ValueError(f"the override {text!r} has an @package, which configs here do not have")
    return override


class _Mode(Enum):
    CHANGE = "change"
    ADD = "add"
    FORCE = "force"
    DELETE = "delete"


class _Change:
    """One override on its way into a config."""

    def __init__(self, text: str, override: "Override") -> None:
        from hydra.core.override_parser.types import OverrideType

        self.text = text
        self.key = override.key_or_group
        self.value = override.value()
        self.has_value = override.value_type is not None
        self.mode = {
            OverrideType.CHANGE: _Mode.CHANGE,
            OverrideType.ADD: _Mode.ADD,
            OverrideType.FORCE_ADD: _Mode.FORCE,
            OverrideType.DEL: _Mode.DELETE,
        }[override.type]

    def apply(self, cfg: DictConfig) -> None:
        *parents, last = self.key.split(".")
        node, path = cfg, ""
        for part in parents:
            node, path = self._descend(cfg, node, part, path)
        key = self._index(node, last, path)
        try:
            if self.mode is _Mode.DELETE:
                self._delete(cfg, node, key, path)
            else:
                self._set(cfg, node, key, self.value, path)
        except OmegaConfBaseException as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(f"override {self.text!r}: {reason}") from error

    def _descend(self, cfg: DictConfig, node: Any, part: str, path: str) -> tuple[Any, str]:
        key = self._index(node, part, path)
        inner_path = join(path, key)
        if not _has(node, key):
            if self.mode not in (_Mode.ADD, _Mode.FORCE):
                raise self._unknown(cfg, node, key, path)
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
            raise self._unknown(cfg, node, key, path)
        if self.has_value and written(node, key) != self.value:
            raise ValueError(
                f"override {self.text!r}: {join(path, key)} is {written(node, key)!r}, "
                "so it is not deleted"
            )
        del node[key]

    def _set(self, cfg: DictConfig, node: Any, key: Any, value: Any, path: str) -> None:
        exists = _has(node, key)
        if self.mode is _Mode.CHANGE and not exists:
            raise self._unknown(cfg, node, key, path)
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
            self._check_kind(current, value, join(path, key))
        node[key] = value

    def _check_kind(self, current: Any, value: Any, path: str) -> None:
        """Refuse what is nearly always a slip: text for a number, a scalar for a mapping."""
        if value is None or (isinstance(value, str) and "${" in value):
            return
        if isinstance(current, (bool, int, float)):
            fits = isinstance(value, (bool, int, float, list))
        elif is_mapping(current):
            fits = is_mapping(value)
        else:
            return
        if not fits:
            wanted = "a mapping" if is_mapping(current) else f"a {type(current).__name__}"
            raise TypeError(
                f"override {self.text!r}: {path} is {wanted}, got {value!r} "
                f"({type(value).__name__}). If that is meant, force it with "
                f"'++{self.text}'"
            )

    def _unknown(self, cfg: DictConfig, node: Any, key: Any, path: str) -> ConfigKeyError:
        full = join(path, key)
        siblings = [str(k) for k in node] if is_mapping(node) else []
        message = f"override {self.text!r}: the config has no key {full}."
        hint = did_you_mean(str(key), siblings, f"{path}." if path else "")
        elsewhere = [p for p in _paths(cfg) if p.rpartition(".")[2] == self.key.rpartition(".")[2]]
        if not hint and elsewhere:
            hint = f" Did you mean {' or '.join(elsewhere[:3])}?"
        message += hint
        if self.mode is _Mode.CHANGE:
            message += f" To add a new key, write '+{self.text}'."
        return ConfigKeyError(message)


def _has(node: Any, key: Any) -> bool:
    # `key in node` is false for a key whose interpolation leads nowhere.
    return key in list(node.keys()) if is_mapping(node) else True


def _paths(node: Any, path: str = "") -> Iterator[str]:
    for key, child in written_children(node):
        child_path = join(path, key)
        yield child_path
        if is_mapping(child) or is_sequence(child):
            yield from _paths(child, child_path)
