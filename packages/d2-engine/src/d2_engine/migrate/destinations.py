"""Where names of detectron2, fvcore and iopath lead in code that no longer goes by them.

The tables are those of the compatibility import. A bridge of it (``d2_engine.compat.shims``) is
taken only where d2 itself has nothing by that name, or where the name is derived from.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import NamedTuple

from d2_engine.compat import module_map
from d2_engine.migrate.findings import Finding

ROOTS = ("detectron2", "fvcore", "iopath", "MultiScaleDeformableAttention")
"""The packages whose names are rewritten."""

_BRIDGES = f"{module_map.PACKAGE}."


class Destination(NamedTuple):
    """A module of d2 and a name in it; no name for the module itself."""

    module: str
    attribute: str = ""

    @property
    def dotted(self) -> str:
        """The whole name."""
        return ".".join(filter(None, self))

    @property
    def is_bridge(self) -> bool:
        """Whether this is a bridge of the compatibility import and not d2's own."""
        return self.module.startswith(_BRIDGES)

    @property
    def bridged(self) -> str:
        """What a bridge bridges: the first line of its docstring."""
        text = import_module(self.module).__doc__ or ""
        return text.strip().partition("\n")[0]


def is_module(name: str) -> bool:
    """Whether a dotted name is a module that the tables know."""
    return name in module_map.modules()


def find(module: str, name: str, *, is_derived_from: bool = False) -> Destination | None:
    """Return where a name of a module is, None if d2 has nothing for it.

    Args:
        module: of the tables.
        name: in it; a submodule counts, too.
        is_derived_from: whether the code overrides what the name has, so that a bridge which calls
            the overridden methods is wanted.
    """
    target = module_map.target_of(module, name)
    if target is None:
        submodule = f"{module}.{name}"
        return find_module(submodule) if is_module(submodule) else None
    found = Destination(*target)
    if not found.is_bridge or is_derived_from:
        return found
    own = [face for face in _faces(module) if name in module_map.listed_names(face)]
    return Destination(own[0], name) if own else found


def find_module(module: str, used: Iterable[Destination] = ()) -> Destination | None:
    """Return the module that stands best for one of the tables, None if there is none.

    Args:
        module: of the tables.
        used: where the names lead that are used of it; the module of most of them is taken.
    """
    counts: dict[str, int] = {}
    for destination in used:
        counts[destination.module] = counts.get(destination.module, 0) + 1
    if counts:
        return Destination(max(counts, key=lambda name: counts[name]))
    entry = module_map.modules()[module]
    if entry.faces:
        return Destination(module_map.absolute(entry.faces[0]))
    modules = {module_map.absolute(name.partition(":")[0]) for name in entry.names.values()}
    return Destination(modules.pop()) if len(modules) == 1 else None


def find_dotted(name: str) -> Destination | None:
    """Return where a whole dotted name leads, as configs write it; attributes of classes count."""
    if is_module(name):
        return find_module(name)
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        if is_module(module):
            found = find(module, parts[length])
            if found is None:
                return None
            rest = [*filter(None, [found.attribute]), *parts[length + 1 :]]
            return Destination(found.module, ".".join(rest))
    return None


def everything_in(module: str) -> list[str]:
    """The modules of d2 whose listed names are those of a module."""
    return [face for face in _faces(module) if any(module_map.listed_names(face))]


def singly_named(module: str) -> list[str]:
    """The further public names of a module."""
    return [name for name in module_map.modules()[module].names if not name.startswith("_")]


def lacking(name: str) -> str:
    """Say that a dotted name has no counterpart, and what to do."""
    module, _, attribute = name.rpartition(".")
    while module and not is_module(module):
        module, _, rest = module.rpartition(".")
        attribute = f"{rest}.{attribute}"
    if not module:
        return f"d2 has no counterpart of {name}"
    return module_map.lacking(module, attribute).replace("d2_engine.compat does", "d2 does")


def note_target_bridge(
    findings: dict[Finding, None], line: int, name: str, found: Destination
) -> None:
    """Note a name in a config or a string that only a bridge of the compatibility import has."""
    if found.is_bridge:
        why = (
            f"now {found.dotted}, a bridge: {found.bridged} Configs read from files may name it "
            f"after d2_config.trust_targets({found.module!r})"
        )
        findings[Finding(line, name, why)] = None


def _faces(module: str) -> list[str]:
    return [module_map.absolute(face) for face in module_map.modules()[module].faces]
