"""Read YAML as plain data, and remember the line on which each key stands."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigFileError
from .nodes import join


class YamlDocument:
    """A parsed YAML text.

    Attributes:
        data: mappings, lists and scalars.
        lines: key path, such as ``MODEL.RPN.HEAD_NAME``, to line number (from 1).
        source: the file's name, or a word for where the text came from.
    """

    def __init__(self, data: Any, lines: dict[str, int], source: str) -> None:
        self.data = data
        self.lines = lines
        self.source = source

    def where(self, path: str) -> str:
        """Return ``file, line 12`` for a key path, or the file alone where it is not known."""
        line = self.lines.get(path)
        return f"{self.source}, line {line}" if line else self.source


def parse_yaml(text: str, source: str | Path, *, allow_unsafe: bool = False) -> YamlDocument:
    """Parse one YAML document.

    Args:
        text: the YAML text.
        source: the file it was read from, for messages.
        allow_unsafe: construct arbitrary Python objects where tags ask for them. This runs code
            that the file chooses.

    Raises:
        ConfigFileError: (a ``ValueError``) if the text is not valid YAML, repeats a key, or has a
            tag that constructs a Python object while ``allow_unsafe`` is false. Names file and
            line, and for a tag the way to allow it.
    """
    loader = _UnsafeLoader(text) if allow_unsafe else _SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return YamlDocument(None, {}, str(source))
        lines: dict[str, int] = {}
        _check(node, "", lines, str(source), allow_unsafe, set())
        return YamlDocument(loader.construct_document(node), lines, str(source))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigFileError(f"{source}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigFileError(f"{source}: not valid YAML: {error}") from error
    finally:
        loader.dispose()


class _SafeLoader(yaml.SafeLoader):
    """Plain data only."""


class _UnsafeLoader(yaml.UnsafeLoader):
    """Any Python object; used on explicit request alone."""


def _check(
    node: yaml.Node,
    path: str,
    lines: dict[str, int],
    source: str,
    allow_unsafe: bool,
    visited: set[int],
) -> None:
    """Record the line of each key; refuse unsafe tags and repeated keys."""
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if not allow_unsafe and node.tag not in _SafeLoader.yaml_constructors:
        raise ConfigFileError(
            f"{source}, line {line}{f', key {path}' if path else ''}: the tag {_shown(node.tag)!r} "
            "asks to construct a Python object, which can run any code, and is refused. Write "
            "plain values instead, or pass allow_unsafe=True if you wrote or inspected this file"
        )
    if id(node) in visited:  # reached again through an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check(item, join(path, index), lines, source, allow_unsafe, visited)
    elif isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key_node, value_node in node.value:
            _check(key_node, path, {}, source, allow_unsafe, visited)
            key = key_node.value if isinstance(key_node.value, str) else id(key_node)
            key_path = join(path, key)
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                at = key_node.start_mark.line + 1
                raise ConfigFileError(f"{source}, line {at}: the key {key_path!r} appears twice")
            seen.add(key)
            lines[key_path] = key_node.start_mark.line + 1
            _check(value_node, key_path, lines, source, allow_unsafe, visited)


def _shown(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
