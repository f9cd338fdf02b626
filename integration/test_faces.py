"""A package takes from another only what that one's faces list."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from module_faces import MODULE_FACES

from d2_engine.compat import module_map

ROOT = Path(__file__).parents[1]
NAMES = [p.name.replace("-", "_") for p in sorted((ROOT / "packages").iterdir())]


def taken(source: str) -> Iterator[tuple[str, str]]:
    """Modules and names of absolute imports, in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def is_listed(module: str, name: str) -> bool:
    """Whether a module is a face, and lists a name (or is imported as a whole)."""
    if f"{module}.{name}" in MODULE_FACES:
        return True
    face = import_module(module)
    if module in MODULE_FACES:
        return not name.startswith("_") and (not name or hasattr(face, name))
    listed = getattr(face, "__all__", None)
    return hasattr(face, "__path__") and listed is not None and (not name or name in listed)


def past_the_faces(package: str, source: str) -> set[str]:
    return {
        f"{module}.{name}".rstrip(".")
        for module, name in taken(source)
        if module.split(".")[0] in set(NAMES) - {package} and not is_listed(module, name)
    }


@pytest.mark.parametrize("package", NAMES)
def test_a_package_uses_of_others_what_their_faces_list(package):
    sources = sorted((ROOT / "packages" / package.replace("_", "-") / "src").rglob("*.py"))
    assert sources
    offences = {
        str(path.relative_to(ROOT)): names
        for path in sources
        if (names := past_the_faces(package, path.read_text()))
    }
    assert offences == {}


@pytest.mark.parametrize(
    "source",
    [
        "from d2_config.files.atomic_file import write_atomically",
        "import d2_config.files.atomic_file",
        "def f():\n    from d2_structures.boxes import Boxes",
        "from d2_config.logger import _COLOURS",
        "from d2_structures import torch",
    ],
)
def test_the_checker_sees_what_goes_past_a_face(source):
    assert len(past_the_faces("d2_data", source)) == 1


def test_the_compatibility_import_leads_to_what_faces_list():
    taken_by_tables = {
        (face, "") for home in module_map.modules().values() for face in home.faces
    } | {
        (module, name.partition(".")[0])
        for home in module_map.modules().values()
        for module, _, name in (target.partition(":") for target in home.names.values())
    }
    of_others = {
        (module, name)
        for module, name in taken_by_tables
        if not module.startswith(".") and module.split(".")[0] != "d2_engine"
    }
    assert len(of_others) > 20
    assert {pair for pair in of_others if not is_listed(*pair)} == set()
