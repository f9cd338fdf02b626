"""From the names of detectron2, fvcore and iopath to those of d2.

What is where stands in the tables of ``homes``; nothing of d2 is imported before it is asked for.
"""

import difflib
import functools
from collections.abc import Iterable, Mapping
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

PACKAGE = __package__ or "d2_engine.compat"

TABLES = (
    "config",
    "structures",
    "layers",
    "modeling",
    "data",
    "evaluation",
    "engine",
    "utils",
    "projects",
    "fvcore",
    "iopath",
)
"""Modules of ``homes``; each has a dict ``MODULES``."""


class Home(NamedTuple):
    """Where the names of one module of detectron2 are in d2.

    ``faces`` and ``names`` are of d2; those that begin with a dot belong to ``d2_engine.compat``.
    """

    faces: tuple[str, ...] = ()
    """Modules whose listed names it has."""
    names: Mapping[str, str] = {}
    """Further names, or other ones than the faces': ``module:attribute``, or ``module``."""
    absent: Mapping[str, str] = {}
    """Names that d2 does not have, each with what to do instead."""
    is_same: bool = False
    """Whether the module is its only face itself, so that what is assigned to it counts."""


def home(
    *faces: str,
    names: Mapping[str, str] | None = None,
    absent: Mapping[str, str] | None = None,
    is_same: bool = False,
) -> Home:
    """Make an entry of a table."""
    return Home(faces, names or {}, absent or {}, is_same)


def each(module: str, *names: str) -> dict[str, str]:
    """Names that are called in a module as they are in detectron2."""
    return {name: f"{module}:{name}" for name in names}


@functools.cache
def modules() -> dict[str, Home]:
    """The home of every module that is provided."""
    merged: dict[str, Home] = {}
    for table in TABLES:
        merged.update(import_module(f"{PACKAGE}.homes.{table}").MODULES)
    for name in [*merged]:  # a package is there if one of its modules is
        while "." in name:
            name = name.rpartition(".")[0]
            merged.setdefault(name, Home())
    return merged


def provided_modules() -> list[str]:
    """Return the dotted names of all modules that can be imported."""
    return sorted(modules())


def absolute(module: str) -> str:
    """The full name of a home: those with a dot in front are within ``d2_engine.compat``."""
    return f"{PACKAGE}{module}" if module.startswith(".") else module


def target_of(module: str, name: str) -> tuple[str, str] | None:
    """Return the module of d2 and the attribute that a name in a module stands for.

    The attribute is empty where the name stands for a whole module. None where there is no such
    name; faces are imported to find out.
    """
    entry = modules()[module]
    if name in entry.names:
        found, _, attribute = entry.names[name].partition(":")
        return absolute(found), attribute
    for face in entry.faces:
        if name in listed_names(face):
            return absolute(face), name
    return None


def resolve(module: str, name: str) -> Any:
    """Return what a name in a module stands for.

    Raises:
        AttributeError: if there is none; says what to use instead, or the closest names.
    """
    target = target_of(module, name)
    if target is None:
        raise AttributeError(lacking(module, name))
    found = import_module(target[0])
    return attrgetter(target[1])(found) if target[1] else found


def names_in(module: str) -> list[str]:
    """The public names of a module, as ``from module import *`` wants them."""
    entry = modules()[module]
    faced = [name for face in entry.faces for name in listed_names(face)]
    named = [name for name in entry.names if not name.startswith("_")]
    return list(dict.fromkeys([*faced, *named]))


def listed_names(face: str) -> Iterable[str]:
    """What a face lists; without a list, what is defined in it and has no underscore."""
    try:
        found = import_module(absolute(face))
    except ModuleNotFoundError as error:
        if error.name == face:
            return ()  # an older wheel of that package
        raise
    listed = getattr(found, "__all__", None)
    if listed is not None:
        return listed
    return [name for name, value in vars(found).items() if _is_own(name, value)]


def _is_own(name: str, value: Any) -> bool:
    """Whether a module has a name for others, not only because it imports it."""
    if name.startswith("_") or isinstance(value, ModuleType):
        return False
    origin = getattr(value, "__module__", None)
    return not isinstance(origin, str) or origin.startswith("d2_")


def lacking(module: str, name: str) -> str:
    """Say that a name is not provided, and what to do."""
    remedy = modules()[module].absent.get(name)
    what = f"d2_engine.compat does not provide {module}.{name}"
    if remedy:
        return f"{what}: {remedy}"
    close = difflib.get_close_matches(name, names_in(module), n=2)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{what}, and d2 has nothing by that name{hint}"


def lacking_module(module: str) -> str:
    """Say that a module is not provided, and what to do."""
    parent, _, name = module.rpartition(".")
    if parent in modules():
        return lacking(parent, name)
    return f"d2_engine.compat does not provide the module {module}"


def is_provided(name: str) -> bool:
    """Whether a dotted name of detectron2, fvcore or iopath stands for something here."""
    return name in modules() or translate(name) is not None


def translate(name: str) -> str | None:
    """Return d2's dotted name of ``detectron2.…``, for a whole module that of its only face.

    None for what is not provided.
    """
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        if module not in modules():
            continue
        target = target_of(module, parts[length])
        if target is None:
            return None
        return ".".join([*filter(None, target), *parts[length + 1 :]])
    return None
