"""YAML files: what ``_target_`` names."""

import re

from d2_engine.migrate import destinations
from d2_engine.migrate.findings import Finding

_ROOTS = "|".join(destinations.ROOTS)
_TARGET = re.compile(rf"""(_target_["']?\s*:\s*["']?)((?:{_ROOTS})(?:\.\w+)+)(?=["'\s,}}]|$)""")
_NAME = re.compile(rf"(?<![\w./])(?:{_ROOTS})(?:\.\w+)+")


def migrate_yaml(source: bytes) -> tuple[bytes, list[Finding]]:
    """Rewrite the targets of a YAML file; the rest stays byte for byte.

    Returns:
        The new content, and what is left to a human.

    Raises:
        ValueError: if it is not UTF-8.
    """
    try:
        lines = source.decode("utf-8").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: {error}") from None
    findings: dict[Finding, None] = {}
    for place, text in enumerate(lines):
        if text.lstrip().startswith("#"):
            continue
        rewritten = _TARGET.sub(lambda match: _target(match, place + 1, findings), text)  # noqa: B023
        left = rewritten.partition(" #")[0]
        for match in _NAME.finditer(left):
            finding = Finding(place + 1, match[0], destinations.lacking(match[0]))
            if all(found.what != finding.what for found in findings if found.line == place + 1):
                findings[finding._replace(why="a name outside of _target_: who reads it?")] = None
        lines[place] = rewritten
    return "".join(lines).encode("utf-8"), sorted(findings)


def _target(match: re.Match[str], line: int, findings: dict[Finding, None]) -> str:
    name = match[2]
    found = destinations.find_dotted(name)
    if found is None:
        findings[Finding(line, name, destinations.lacking(name))] = None
        return match[0]
    destinations.note_target_bridge(findings, line, name, found)
    return match[1] + found.dotted
