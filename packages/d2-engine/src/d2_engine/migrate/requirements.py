"""What is installed: lines that name detectron2's packages as dependencies."""

import re

from d2_engine.migrate.findings import Finding

_DEPENDENCY = re.compile(
    r"(?<![\w./-])(?:detectron2|fvcore|iopath)(?![\w.])|/detectron2(?:\.git)?\b"
)
_DEPEND = "depend on d2-engine instead (d2-engine[detectron2] where bridges are used)"


def dependencies(text: str) -> list[Finding]:
    """Find the lines of a list of requirements, or of commands, that a human has to change."""
    return [
        Finding(place, match[0], _DEPEND)
        for place, line in enumerate(text.splitlines(), 1)
        if (match := _DEPENDENCY.search(line.partition(" #")[0])) and "import" not in line
    ]
