"""Save a config as plain YAML from which the same objects can be built."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import attrs
import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from .dotted_name import qualified_name
from .files import write_atomically
from .key_paths import join
from .lazy_call import TARGET
from .nodes import is_empty, is_mapping, is_sequence, written_children
from .trusted_names import BIND, LOCATE, LOST
from .yaml_dialect import Dumper


def save(cfg: DictConfig | ListConfig, filename: str | os.PathLike[str]) -> None:
    """Save a config to a YAML file, all of it or (on an error) nothing.

    ``LazyConfig.load`` reads the file back without running code. Interpolations stay as written.
    Callables, ``functools.partial``, enums, named tuples, dataclass and attrs objects are written
    as the calls that make them, so that ``instantiate`` of the loaded config builds equal objects.
    Tuples become lists, and paths text.

    A value that has no such form (a lambda, a tensor) is reported in the log, with its key path;
    in the YAML a call stands in its place that fails, naming it, when instantiated. The config is
    then also pickled to ``filename + ".pkl"``, lambdas, local functions and classes by value, and
    ``LazyConfig.load(filename + ".pkl", allow_unsafe=True)`` reads it. What cannot be pickled
    either is an error in the log. A pickle that an earlier config left there is removed.

    Args:
        cfg: a config node or dictionary.
        filename: the YAML file to write; missing folders are made.
    """
    text, lost = to_yaml(cfg)
    write_atomically(filename, text)
    pickle_name = os.fspath(filename) + ".pkl"
    Path(pickle_name).unlink(missing_ok=True)
    if not lost:
        return
    failure = _pickle(cfg, pickle_name)
    values = "; ".join(f"{path} = {value}" for path, value in lost.items())
    logging.getLogger(__name__).log(
        logging.ERROR if failure else logging.WARNING,
        "Values that YAML cannot hold are missing from %s: %s. %s",
        filename,
        values,
        f"Nor can they be pickled: {failure}"
        if failure
        else f"The whole config was pickled to {pickle_name}; "
        "LazyConfig.load reads it with allow_unsafe=True.",
    )


def to_yaml(cfg: Any) -> tuple[str, dict[str, str]]:
    """Return ``cfg`` as the text that :func:`save` writes.

    Returns:
        The YAML text, and the key path and ``repr`` of each value that YAML cannot hold.
    """
    lost: dict[str, str] = {}
    plain = _plain(cfg, "", lost)
    style: dict[str, Any] = {"default_flow_style": None, "allow_unicode": True, "width": 100}
    return yaml.dump(plain, Dumper=_BlockDumper, sort_keys=False, **style), lost


def bind(function: Callable[..., Any], args: Any = (), kwargs: Any = None) -> Any:
    """Return ``functools.partial(function, *args, **kwargs)``; how a saved partial comes back."""
    return functools.partial(function, *args, **(kwargs or {}))


def lost_value(description: str) -> Any:
    """Fail: the config was loaded from a YAML file that could not hold this value."""
    raise ValueError(
        f"this value could not be saved as YAML: {description}. Set it again before building, "
        "or load the .pkl file that was written beside the YAML"
    )


class _BlockDumper(Dumper):
    """For people: a key a line, short lists in one line."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: Any = None) -> yaml.MappingNode:
        """Write mappings as blocks, empty ones as ``{}``."""
        return super().represent_mapping(tag, mapping, flow_style=not mapping)


def _plain(value: Any, path: str, lost: dict[str, str]) -> Any:
    """Return ``value`` as mappings, lists and scalars; note in ``lost`` what has no such form."""
    if isinstance(value, Enum):
        return {TARGET: LOCATE, "name": f"{qualified_name(type(value))}.{value.name}"}
    if value is None or isinstance(value, bytes):
        return value
    for kind in (bool, int, float, str):  # NumPy's float64 is a float: make it plain
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, PurePath):
        return str(value)
    if is_mapping(value):
        return _plain_mapping(value, path, lost)
    if is_sequence(value):
        return [_plain(item, join(path, index), lost) for index, item in written_children(value)]
    if isinstance(value, functools.partial):
        bound = {"function": value.func, "args": list(value.args), "kwargs": value.keywords}
        return {TARGET: BIND, **_plain_items(bound.items(), path, lost)}
    if callable(value) and (name := qualified_name(value)):
        return {TARGET: LOCATE, "name": name}
    fields = _constructor_fields(value)
    if fields is not None and (name := qualified_name(type(value))):
        return {TARGET: name, **_plain_items(fields.items(), path, lost)}
    lost[path] = repr(value)
    return {TARGET: LOST, "description": f"{path} = {value!r}"}


def _plain_mapping(value: Any, path: str, lost: dict[str, str]) -> Any:
    if is_empty(value):
        return None
    plain: dict[Any, Any] = {}
    for key, item in written_children(value):
        name = qualified_name(item) if key == TARGET and callable(item) else None
        plain[key] = name or _plain(item, join(path, key), lost)
    kind = OmegaConf.get_type(value) if isinstance(value, DictConfig) else dict
    if kind is not dict and kind is not None and TARGET not in plain:
        return {TARGET: qualified_name(kind), **plain}
    return plain


def _plain_items(items: Iterable[tuple[Any, Any]], path: str, lost: dict[str, str]) -> Any:
    return {key: _plain(item, join(path, key), lost) for key, item in items}


def _constructor_fields(value: Any) -> dict[str, Any] | None:
    """Return the arguments that make ``value`` again, if its class declares its fields."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return {f.alias: getattr(value, f.name) for f in fields if f.init}
    return None


def _pickle(cfg: Any, filename: str) -> str | None:
    """Pickle ``cfg``; return why it cannot be, or ``None`` when it was."""
    import cloudpickle  # only the few configs that YAML cannot hold need it

    try:
        content = cloudpickle.dumps(cfg)
    except Exception as error:  # a value's own __reduce__ may raise anything
        return f"{type(error).__name__}: {error}"
    write_atomically(filename, content)
    return None
