"""What the seven packages need from elsewhere, and what of it a GPU machine has to be given.

python requirements.py              # one requirement a line, for pack.sh
python requirements.py --provided   # names of the projects that the machine brings along
python requirements.py --missing    # what this Python lacks of all of it; status 1 if anything
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Together with what they need themselves. Everything else is packed.
PROVIDED = ("numpy", "pillow", "torch", "torchvision")
TOOLS = ("hypothesis", "pytest")


def declared(root: Path = ROOT) -> list[str]:
    """Requirements of the seven packages on others, and of building the one with kernels."""
    found: set[str] = set()
    for path in sorted((root / "packages").glob("*/pyproject.toml")):
        document = tomllib.loads(path.read_text())
        found.update(document["project"]["dependencies"])
        if document["build-system"]["build-backend"] == "scikit_build_core.build":
            found.update(document["build-system"]["requires"])
    return sorted(r for r in found if not project(r).startswith("d2-"))


def packed(root: Path = ROOT) -> list[str]:
    """Those of them that a GPU machine does not bring along."""
    return [r for r in declared(root) if project(r) not in PROVIDED]


def project(requirement: str) -> str:
    """The normalised name of the project that a requirement asks for."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~\[;(]", requirement)[0]).lower()


def missing(requirements: list[str]) -> list[str]:
    """Those that the running Python does not have, or only in too old a version."""
    return [r for r in requirements if not _installed(r)]


def _installed(requirement: str) -> bool:
    try:
        found = version(project(requirement))
    except PackageNotFoundError:
        return False
    lowest = re.search(r">=\s*([\d.]+)", requirement)
    return lowest is None or _numbers(found) >= _numbers(lowest[1])


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def main(arguments: list[str]) -> int:
    if arguments == ["--missing"]:
        lacking = missing([*declared(), *TOOLS])
        for requirement in lacking:
            print(f"this Python lacks {requirement}")
        return 1 if lacking else 0
    if arguments == ["--provided"]:
        print("\n".join(PROVIDED))
    elif arguments:
        print(__doc__, file=sys.stderr)
        return 2
    else:
        print("\n".join(packed()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
