"""The YAML of configs: PyYAML's, which follows YAML 1.1, but for two kinds of plain scalars.

YAML 1.1 takes ``1e-4``, ``1.5e3`` and ``-.5`` for text, where YAML 1.2, Python and every reader
of a config see numbers; and ``None`` for text, where a file about Python means None. Here they
are what they look like. Quoted, ``"1e-4"``, they are text, and so the dumper writes such texts.
"""

import re
from typing import Any

import yaml

_LINE_BREAKS = "\x85\u2028\u2029"
"""Unicode's own line breaks, which YAML folds unless they are escaped."""


class SafeLoader(yaml.SafeLoader):
    """Construct mappings, lists and scalars only."""


class UnsafeLoader(yaml.UnsafeLoader):
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
