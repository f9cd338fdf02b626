"""Read YAML as plain data, and remember the line on which each key stands."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigFileError
from .key_paths import join
from .yaml_dialect import SafeLoader, UnsafeLoader


class YamlDocument:
    """A parsed YAML text.

    Attributes:
        data: mappings, lists and scalars.
        places: key path, such as ``MODEL.RPN.HEAD_NAME``, to ``"file, line 12"``.
        source: the file's name, or a word for where the text came from.
    """

    def __init__(self, data: Any, places: dict[str, str], source: str) -> None:
        self.data = data
        self.places = places
        self.source = source

    def where(self, path: str) -> str:
        """Return file and line of a key path, or the file alone where it is not known."""
        return self.places.get(path, self.source)


def parse_yaml(text: str, source: str | Path, *, allow_unsafe: bool = False) -> YamlDocument:
    """Parse one YAML document; numbers such as ``1e-4`` are numbers, and ``None`` is None.

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
    loader = UnsafeLoader(text) if allow_unsafe else SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return YamlDocument(None, {}, str(source))
        check = _Check(str(source), allow_unsafe)
        check.visit(node, "")
        return YamlDocument(loader.construct_document(node), check.places, str(source))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigFileError(f"{source}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigFileError(f"{source}: not valid YAML: {error}") from error
    finally:
        loader.dispose()


_YAML_PREFIX = "tag:yaml.org,2002:"
_MERGE_TAG = f"{_YAML_PREFIX}merge"
_PLAIN_TAGS = {*filter(None, yaml.SafeLoader.yaml_constructors), _MERGE_TAG, f"{_YAML_PREFIX}value"}


class _Check:
    """Walk a document before it is constructed: note places, refuse unsafe tags and repeats."""

    def __init__(self, source: str, allow_unsafe: bool) -> None:
        self.source = source
        self.allow_unsafe = allow_unsafe
        self.places: dict[str, str] = {}
        self._visited: set[int] = set()

    def visit(self, node: yaml.Node, path: str) -> None:
        self._check_tag(node, path)
        if id(node) in self._visited:  # reached again through an alias
            return
        self._visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, join(path, index))
        elif isinstance(node, yaml.MappingNode):
            self._visit_mapping(node, path)

    def _visit_mapping(self, node: yaml.MappingNode, path: str) -> None:
        seen: set[Hashable] = set()
        for key_node, value_node in node.value:
            self.visit(key_node, path)
            key = key_node.value if isinstance(key_node.value, str) else id(key_node)
            key_path, place = join(path, key), self._place(key_node)
            if key in seen and key_node.tag != _MERGE_TAG:
                raise ConfigFileError(f"{place}: the key {key_path!r} appears twice")
            seen.add(key)
            self.places[key_path] = place
            self.visit(value_node, key_path)

    def _check_tag(self, node: yaml.Node, path: str) -> None:
        if self.allow_unsafe or node.tag in _PLAIN_TAGS:
            return
        key = f", key {path}" if path else ""
        raise ConfigFileError(
            f"{self._place(node)}{key}: the tag {node.tag.replace(_YAML_PREFIX, '!!')!r} asks to "
            "construct a Python object, which can run any code, and is refused. Write plain "
            "values instead, or pass allow_unsafe=True if you wrote or inspected this file"
        )

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source}, line {node.start_mark.line + 1}"
