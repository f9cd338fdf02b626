"""Read YAML as plain data, and remember the line on which each key stands."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigFileError
from .key_paths import join
from .yaml_dialect import SafeLoader, UnsafeLoader

MAX_CHARACTERS = 1_000_000
"""Of a text: PyYAML takes seconds for as much."""

MAX_ADDED_BY_ALIASES = 50_000
"""Values beyond those that are written: each alias stands for all that its anchor holds."""

_MAX_DIGITS = 400
"""Of a number or date: Python takes long for more, or refuses."""


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

    A text of a few lines can stand for more than any memory holds. What is larger, nested deeper or
    multiplied more by aliases than people write is refused.

    Args:
        text: the YAML text.
        source: the file it was read from, for messages.
        allow_unsafe: construct arbitrary Python objects where tags ask for them, of any size. This
            runs code that the file chooses.

    Raises:
        ConfigFileError: (a ``ValueError``) if the text is not valid YAML, repeats a key, holds
            itself, is beyond a limit, or has a tag that constructs a Python object while
            ``allow_unsafe`` is false. Names file and line, and for a tag the way to allow it.
    """
    if len(text) > MAX_CHARACTERS and not allow_unsafe:
        raise ConfigFileError(
            f"{source} has {len(text):,} characters, and a config at most {MAX_CHARACTERS:,}: "
            "keep data in a file of its own, or pass allow_unsafe=True if you wrote this file"
        )
    loader: SafeLoader | UnsafeLoader | None = None
    try:
        loader = UnsafeLoader(text) if allow_unsafe else SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return YamlDocument(None, {}, str(source))
        check = _Check(str(source), allow_unsafe)
        check.visit(node, "")
        check.sizes(node)
        return YamlDocument(loader.construct_document(node), check.places, str(source))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigFileError(f"{source}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:  # a character that no text has
        reason = " ".join(str(error).split()[:8])
        raise ConfigFileError(f"{source}: not valid YAML: {reason}") from error
    finally:
        if loader is not None:
            loader.dispose()


_YAML_PREFIX = "tag:yaml.org,2002:"
_MERGE_TAG = f"{_YAML_PREFIX}merge"
_NUMBER_TAGS = {f"{_YAML_PREFIX}{kind}" for kind in ("int", "float", "timestamp")}
_PLAIN_TAGS = {*filter(None, yaml.SafeLoader.yaml_constructors), _MERGE_TAG, f"{_YAML_PREFIX}value"}


class _Check:
    """Walk a document before it is constructed: note places, refuse unsafe tags and repeats."""

    def __init__(self, source: str, allow_unsafe: bool) -> None:
        self.source = source
        self.allow_unsafe = allow_unsafe
        self.places: dict[str, str] = {}
        self._visited: set[int] = set()
        self._sizes: dict[int, int] = {}
        self._within: set[int] = set()

    def sizes(self, node: yaml.Node) -> None:
        """Refuse a document that its aliases make much larger than it is written."""
        size = self._size(node)
        if size - len(self._visited) > MAX_ADDED_BY_ALIASES and not self.allow_unsafe:
            raise ConfigFileError(
                f"{self.source}: its aliases make {size:,} values of {len(self._visited):,}, and "
                f"may add {MAX_ADDED_BY_ALIASES:,}; write them out, or pass allow_unsafe=True if "
                "you wrote this file"
            )

    def _size(self, node: yaml.Node) -> int:
        """The number of values that a node stands for, those of aliases included."""
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in self._within:
            raise ConfigFileError(f"{self._place(node)}: this holds an alias of itself")
        self._within.add(id(node))
        size = 1 + sum(map(self._size, _children(node)))
        self._within.discard(id(node))
        self._sizes[id(node)] = size
        return size

    def visit(self, node: yaml.Node, path: str) -> None:
        self._check_tag(node, path)
        if id(node) in self._visited:  # reached again through an alias
            return
        self._visited.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            self._check_length(node, path)
        elif isinstance(node, yaml.SequenceNode):
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

    def _check_length(self, node: yaml.ScalarNode, path: str) -> None:
        if node.tag in _NUMBER_TAGS and len(node.value) > _MAX_DIGITS:
            raise ConfigFileError(
                f"{self._place(node)}, key {path}: a number of {len(node.value)} digits; quote it "
                "if it is a text"
            )

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source}, line {node.start_mark.line + 1}"


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
