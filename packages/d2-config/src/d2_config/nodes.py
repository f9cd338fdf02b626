"""Walk and make config nodes: omegaconf containers that may hold any object."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import ConfigKeyError, did_you_mean
from .key_paths import join

FLAGS = {"allow_objects": True}


def as_config(value: Any) -> Any:
    """Return a dictionary as a config node that allows any object as a value; others as is."""
    if isinstance(value, DictConfig) or not isinstance(value, Mapping):
        return value
    return DictConfig(content=dict(value), flags=dict(FLAGS))  # the node keeps it and may change it


def is_mapping(value: Any) -> bool:
    """Whether ``value`` is a dictionary or a config node that is one."""
    return isinstance(value, (Mapping, DictConfig))


def is_sequence(value: Any) -> bool:
    """Whether ``value`` is a list or tuple of a config; named tuples are values, not lists."""
    return isinstance(value, (list, ListConfig)) or type(value) is tuple


def is_empty(node: Any) -> bool:
    """Whether a config node stands for ``None``, a missing value or an unresolved reference."""
    return OmegaConf.is_config(node) and (
        node._is_none() or node._is_missing() or node._is_interpolation()
    )


def written_children(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield key and value of a mapping or sequence, interpolations as they are written."""
    if is_empty(node):
        return
    keys: Any = node.keys() if is_mapping(node) else range(len(node))
    for key in keys:
        yield key, written(node, key)


def written(node: Any, key: Any) -> Any:
    """Return ``node[key]``, but ``"${a.b}"`` and ``"???"`` as text, without resolving them."""
    if OmegaConf.is_config(node):
        child = node._get_node(key)
        if child is None or child._is_none():
            return None
        if child._is_interpolation() or child._is_missing():
            return child._value()
    return node[key]


def resolved(node: Any, key: Any) -> Any:
    """Return ``node[key]``.

    Raises:
        ConfigKeyError: (a ``KeyError``) if its interpolation leads nowhere or its value is
            missing; names the key path, what is written there and the closest names.
    """
    if not OmegaConf.is_config(node):
        return node[key]
    try:
        value = node[key]
    except OmegaConfBaseException as error:
        raise ConfigKeyError(_unresolvable(node, key, error)) from error
    return value


def _unresolvable(node: Any, key: Any, error: Exception) -> str:
    text, path = written(node, key), full_path(node, key)
    if text == "???":
        return f"{path} must be given a value: it is '???'"
    reason = str(error).partition("\n")[0]
    message = f"{path} is {text!r}, which cannot be resolved: {reason}."
    inner = str(text).partition("${")[2].partition("}")[0]
    holder, dot, wanted = inner.rpartition(".")
    return message + did_you_mean(wanted, _names_near(node, inner), holder + dot)


def _names_near(node: Any, reference: str) -> list[str]:
    """Return the keys beside the place that ``reference``, seen from ``node``, points to."""
    dots = len(reference) - len(reference.lstrip("."))
    parts = reference.lstrip(".").split(".")[:-1]
    holder = node
    if dots == 0:
        while holder._get_parent() is not None:
            holder = holder._get_parent()
    for _ in range(dots - 1):
        holder = holder._get_parent() if holder is not None else None
    for part in parts:
        if not isinstance(holder, DictConfig) or is_empty(holder) or part not in holder:
            return []
        holder = written(holder, part)
    return [str(k) for k in holder] if isinstance(holder, DictConfig) else []


def full_path(node: Any, key: Any) -> str:
    """Return the path of ``node[key]`` from the root of the config: ``model.heads[0].size``."""
    return join(root_path(node), key)


def root_path(node: Any) -> str:
    """Return the path of ``node`` from the root of its config; ``""`` for the root."""
    return str(node._get_full_key(None)) if OmegaConf.is_config(node) else ""


def dangling_interpolations(cfg: Any) -> list[str]:
    """Return one message for each interpolation in ``cfg`` that leads nowhere."""
    messages: list[str] = []
    for key, child in written_children(cfg):
        if isinstance(child, str) and "${" in child:
            try:
                resolved(cfg, key)
            except ConfigKeyError as error:
                messages.append(str(error))
        elif is_mapping(child) or is_sequence(child):
            messages += dangling_interpolations(child)
    return messages
