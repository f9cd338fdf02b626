"""From an object to its dotted name and back."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .errors import did_you_mean


def locate(name: str) -> Any:
    """Import the object that a dotted name such as ``"torch.nn.Conv2d"`` stands for.

    Args:
        name: module path and attribute path joined by dots; classes may be nested. A name without
            a dot is looked up among Python's builtins.

    Raises:
        ImportError: if no such module or attribute exists; names the part that is missing and the
            closest names. An import that fails for reasons of its own is the cause of this error.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ImportError(f"cannot locate {name!r}: it is not a dotted Python name")
    if len(parts) == 1:
        parts = ["builtins", name]
    found = _import(parts[0], name)
    for position, part in enumerate(parts[1:], start=1):
        try:
            found = getattr(found, part)
        except AttributeError:
            holder = ".".join(parts[:position])
            if isinstance(found, ModuleType) and _has_submodule(found, part):
                found = _import(f"{holder}.{part}", name)
                continue
            public = [member for member in dir(found) if not member.startswith("_")]
            raise ImportError(
                f"cannot locate {name!r}: {holder!r} has no {part!r}.{did_you_mean(part, public)}"
            ) from None
    return found


def _import(module_name: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        raise ImportError(
            f"cannot locate {name!r}: importing {module_name!r} failed "
            f"({type(error).__name__}: {error})"
        ) from error


def _has_submodule(module: ModuleType, part: str) -> bool:
    if not hasattr(module, "__path__"):
        return False
    return importlib.util.find_spec(f"{module.__name__}.{part}") is not None


def qualified_name(obj: Callable[..., Any]) -> str | None:
    """Return the shortest dotted name under which ``obj`` can be imported again.

    ``torch.nn.modules.conv.Conv2d`` is found as ``"torch.nn.Conv2d"`` if a parent package exports
    the very same object. Nothing is imported to find out.

    Returns:
        ``None`` for what has no importable name: lambdas, local functions, functions of a config
        file, partials, instances.
    """
    owner = getattr(obj, "__self__", None)
    if isinstance(owner, type):  # a classmethod, perhaps inherited: another object at each access
        name = qualified_name(owner)
        is_found = name is not None and getattr(owner, obj.__name__, None) == obj
        return f"{name}.{obj.__name__}" if is_found else None
    module_name = getattr(obj, "__module__", None)
    path = getattr(obj, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(path, str):
        return None
    modules = module_name.split(".")
    if not all(part.isidentifier() for part in [*modules, *path.split(".")]):  # "<lambda>"
        return None
    for length in range(1, len(modules) + 1):
        candidate = ".".join(modules[:length])
        if _lookup(candidate, path.split(".")) is obj:
            return f"{candidate}.{path}"
    return None


def _lookup(module_name: str, path: list[str]) -> Any:
    module = sys.modules.get(module_name)
    found = vars(module).get(path[0]) if module is not None else None
    for part in path[1:]:
        found = getattr(found, part, None)
    return found
