"""Yacs-style configs as text, and out of text."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .base_chain import BASE_KEY
from .errors import ConfigFileError, ConfigTypeError
from .key_paths import join
from .python_file import read_text, run_python_file
from .safe_yaml import parse_yaml
from .yaml_dialect import Dumper


def read_cfg(source: Any) -> tuple[Any, str]:
    """Return what a YAML or Python file holds, and its name.

    Args:
        source: YAML text, an open YAML file, or an open ``.py`` file. The latter is run and must
            define ``cfg``.

    Raises:
        ConfigFileError: (a ``ValueError``) if it cannot be read as such.
        TypeError: if it is neither text nor a file.
    """
    if isinstance(source, str):
        return parse_yaml(source, "YAML text").data, "YAML text"
    if not isinstance(source, io.IOBase):
        raise TypeError(f"expected YAML text or an open file, got {source!r}")
    name = str(getattr(source, "name", "file"))
    if name.endswith(".py"):
        names = run_python_file(Path(name))
        if "cfg" not in names:
            raise ConfigFileError(f"{name} must define 'cfg', a dictionary or CfgNode")
        return names["cfg"], name
    content = source.read()
    text = content.decode() if isinstance(content, bytes) else content
    return parse_yaml(text, name).data, name


def is_yacs_file(filename: str | Path) -> bool:
    """Return whether a file is a yacs-style config: YAML whose top keys are all upper case.

    Raises:
        FileNotFoundError: if there is no such file.
        ConfigFileError: (a ``ValueError``) if it is not valid or safe YAML.
    """
    path = Path(filename)
    if path.suffix not in (".yaml", ".yml"):
        return False
    data = parse_yaml(read_text(path), path).data
    keys = [str(key) for key in data] if isinstance(data, dict) else []
    return bool(keys) and all(key == BASE_KEY or key.isupper() for key in keys)


def dump_yaml(node: Mapping[str, Any], *args: Any, **kwargs: Any) -> str:
    """Return a config as YAML; further arguments are those of ``yaml.dump``.

    Raises:
        ConfigTypeError: (a ``TypeError``) for values YAML cannot hold, with their keys.
    """
    kwargs.setdefault("Dumper", Dumper)
    text: str = yaml.dump(_to_plain(node, ""), *args, **kwargs)
    return text


def outline(node: Mapping[str, Any]) -> str:
    """Return a config for people to read: sorted keys, sections indented."""
    lines: list[str] = []
    for key, value in sorted(node.items()):
        if isinstance(value, Mapping):
            inner = "\n".join(f"  {line}" for line in outline(value).splitlines())
            lines.append(f"{key}:\n{inner}" if inner else f"{key}:")
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _to_plain(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_plain(inner, join(path, key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(inner, join(path, index)) for index, inner in enumerate(value)]
    for kind in (bool, int, float, str):  # subclasses, such as NumPy's float64, become plain
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise ConfigTypeError(f"{path} holds {value!r} ({type(value).__name__}), which is not YAML")
