"""The YAML of configs: PyYAML's, which follows YAML 1.1, but for two kinds of plain scalars.

YAML 1.1 takes ``1e-4``, ``1.5e3`` and ``-.5`` for text, where YAML 1.2, Python and every reader
of a config see numbers; and ``None`` for text, where a file about Python means None. Here they
are what they look like. Quoted, ``"1e-4"``, they are text, and so the dumper writes such texts.
"""

import re
from typing import Any

import yaml

MAX_DEPTH = 100
"""Levels of lists and mappings in each other."""

_LINE_BREAKS = "\x85\u2028\u2029"
"""Unicode's own line breaks, which YAML folds unless they are escaped."""


class _LimitedDepth:
    """Composes no deeper than people nest; PyYAML would exhaust the stack instead."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, one level deeper."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[attr-defined]  # of the loader
            problem = f"it is nested more than {MAX_DEPTH} levels deep"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        try:
            return super().compose_node(parent, index)  # type: ignore[misc]  # of the loader
        finally:
            self._depth -= 1


class SafeLoader(_LimitedDepth, yaml.SafeLoader):
    """Construct mappings, lists and scalars only."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; one that looks like a number or a date and is none has its line."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"this is not a value of the kind {kind} ({type(error).__name__})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


class UnsafeLoader(_LimitedDepth, yaml.UnsafeLoader):
    """Construct whatever the tags of a trusted file ask for."""


class Dumper(yaml.SafeDumper):
    """Write for people: what occurs twice is repeated, not referred to."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat what occurs twice."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Escape what would not survive reading."""
        style = '"' if any(character in data for character in _LINE_BREAKS) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


Dumper.add_representer(str, Dumper.represent_str)

# PyYAML matches from the start on: the end has to be in the pattern.
_FLOAT = re.compile(
    r"""(?: [-+]?(?: [0-9][0-9_]*(?:\.[0-9_]*)? | \.[0-9][0-9_]* )[eE][-+]?[0-9]+
          | [-+]\.[0-9][0-9_]*
        )\Z""",
    re.VERBOSE,
)
_NONE = re.compile(r"None\Z")

for _class in (SafeLoader, UnsafeLoader, Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:null", _NONE, ["N"])
