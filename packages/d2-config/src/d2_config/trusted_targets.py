"""What configs that were read from files may name in ``_target_``.

A Python config is code that its reader chose to run. A YAML file is read as data, so what it names
is called only if it is a part that detectors, their data and their training are made of. Packages
that do more than that, and parts of these packages that write files, start processes or run what
they are given, need the reader's word: :func:`trust_targets`.
"""

import enum
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from omegaconf import DictConfig, ListConfig

from .dotted_name import locate
from .key_paths import join
from .lazy_call import TARGET
from .nodes import is_empty, is_mapping, is_sequence, resolved, written_children
from .trusted_names import EXCEPT, FACES, LOCATORS, NAMES, PACKAGES

_FLAG = "trusted_targets_only"
"""Of config nodes: their targets are those of a file."""

_FILE_ARGUMENTS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments by which timm's models unpickle a file."""

_added: set[str] = set()

_aliases: dict[str, Callable[[str], str | None]] = {}


class UntrustedTargetError(ValueError):
    """A config file names something that its reader has not trusted."""


def trust_targets(*packages: str) -> None:
    """Let config files name what is in further packages, for as long as this process runs.

    Whoever wrote the file then chooses among all functions of the package, and their arguments.

    Args:
        packages: names of packages, modules, classes or functions, such as ``"my_models"`` or
            ``"torch.hub.load"``.

    Raises:
        ValueError: for what is no dotted name.
    """
    for name in packages:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"a package to trust is a dotted Python name, got {name!r}")
    _added.update(packages)


def alias_targets(package: str, translate: Callable[[str], str | None] | None) -> None:
    """Let names in a package be trusted as far as those are that they stand for.

    Args:
        package: whose modules hold other packages' objects under names of its own.
        translate: from such a dotted name to that of the object's own package; None where it
            stands for nothing. None for all forgets the package.
    """
    if translate is None:
        _aliases.pop(package, None)
    else:
        _aliases[package] = translate


def mark_untrusted(cfg: Any) -> Any:
    """Let the targets of a config node be looked up in trusted packages only; return the node.

    All its parts are marked, so that they stay so in another config.
    """
    if isinstance(cfg, (DictConfig, ListConfig)):
        cfg._set_flag(_FLAG, True)
        for _, child in written_children(cfg):
            mark_untrusted(child)
    return cfg


def is_untrusted(cfg: Any) -> bool:
    """Whether a value is a config node whose targets are those of a file."""
    return isinstance(cfg, (DictConfig, ListConfig)) and bool(cfg._get_flag(_FLAG))


def check_targets(cfg: Any) -> None:
    """Look for targets that are not trusted before anything of a config is built.

    Raises:
        UntrustedTargetError: (a ``ValueError``) naming each, its key path and the remedy.
    """
    found = _untrusted(cfg, "")
    if found:
        named = ", ".join(f"{path} = {name}" for path, name, _ in found[:8])
        modules = dict.fromkeys(module for _, _, module in found)
        raise _error(f"this config was read from a file and names {named}, which", *modules)


def untrusted_modules(cfg: Any) -> list[str]:
    """Return the modules that have to be trusted before a config can be built from a file."""
    return list(dict.fromkeys(module for _, _, module in _untrusted(cfg, "")))


def locate_trusted(name: str) -> Any:
    """Import the object of a dotted name from a config file; see :func:`~d2_config.locate`.

    The name has to lead into a trusted package, and the object to be defined in one: what a module
    has imported is not part of it.

    Raises:
        UntrustedTargetError: (a ``ValueError``) if it is not trusted; says how it can be.
        ImportError: if there is no such object.
    """
    module = _to_be_trusted(name)
    if module is not None:
        raise _error(f"{name!r}, named by a config that was read from a file,", module)
    return locate(name)


def with_checked_arguments(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return a trusted callable, of timm one that refuses the arguments by which it unpickles.

    Those are files, and models that strangers uploaded.
    """
    module = getattr(target, "__module__", None) or ""
    if not _within(module, ("timm",)) or _within(module, _added):
        return target

    @functools.wraps(target)
    def checked(*positional: Any, **arguments: Any) -> Any:
        given = [name for name in _FILE_ARGUMENTS if arguments.get(name)]
        if ":" in str(arguments.get("model_name", "")):  # hf-hub:…, local-dir:…
            given.append("model_name")
        if given:
            raise _error(f"{target.__name__} with {', '.join(given)}, which unpickles,", "timm")
        return target(*positional, **arguments)

    return checked


def _error(what: str, *modules: str) -> UntrustedTargetError:
    options = " ".join(f"--trust {module}" for module in modules)
    python = ", ".join(map(repr, modules))
    return UntrustedTargetError(
        f"{what} may run any code and is not called. If you trust who wrote the file, add "
        f"{options} (in Python: d2_config.trust_targets({python}))"
    )


def _untrusted(cfg: Any, path: str) -> list[tuple[str, str, str]]:
    """Key path, name and the module to trust of what a config would import."""
    found: list[tuple[str, str, str]] = []
    if not (is_mapping(cfg) or is_sequence(cfg)) or is_empty(cfg):
        return found
    for key, child in written_children(cfg):
        found += _untrusted(child, join(path, key))
    if is_mapping(cfg) and TARGET in cfg:
        target = _original(_text(cfg, TARGET) or "")
        for key in (TARGET, "name") if target in LOCATORS else (TARGET,):
            name = _text(cfg, key)
            module = None if name is None else _to_be_trusted(name)
            if name is not None and module is not None:
                found.append((join(path, key), name, module))
    return found


def _text(cfg: Any, key: str) -> str | None:
    try:
        value = resolved(cfg, key) if key in cfg else None
    except KeyError:  # an interpolation that leads nowhere: instantiating says so
        return None
    return value if isinstance(value, str) else None


def _to_be_trusted(name: str) -> str | None:
    """Return the module that has to be trusted before a name may be called; None if it may be."""
    name = _original(name)
    if name in NAMES:
        return None
    if not _leads_into_trusted(name):
        return name.rpartition(".")[0] or name
    try:
        found = locate(name)
    except ImportError:
        return None  # nothing will be called
    if _within(name, _added):
        return _to_be_trusted_beside(found, name)
    module = _defining_module(found)
    if module is None or _is_method(name, found):
        return name
    return None if _is_trusted(module) else module


def _original(name: str) -> str:
    """The name itself, or the one that it stands for; see :func:`alias_targets`."""
    translate = _aliases.get(name.partition(".")[0])
    return name if translate is None else translate(name) or name


def _to_be_trusted_beside(found: Any, name: str) -> str | None:
    """The same of a name in a package that the reader has trusted: what else did it import?

    What was named itself is trusted, wherever it is from, and so are class methods of a class.
    """
    if name in _added or _is_class_method_of_added(found, name):
        return None
    module = _defining_module(found)
    if module is not None:
        return None if _is_trusted(module) or name.startswith(f"{module}.") else module
    # Compiled functions of torch do not say where they are from, and other objects cannot.
    holder = sys.modules.get(name.rpartition(".")[0])
    return name if holder is None or isinstance(found, ModuleType) else None


def _is_class_method_of_added(found: Any, name: str) -> bool:
    holder = name.rpartition(".")[0]
    is_class_method = isinstance(found, MethodType) and "." in holder and holder in _added
    return is_class_method and found.__self__ is locate(holder)


def _leads_into_trusted(name: str) -> bool:
    if _within(name, _added):
        return True
    if any(part.startswith("_") for part in name.split(".")) or _within(name, EXCEPT):
        return False
    return _within(name, PACKAGES) or _within(name, FACES)


def _is_trusted(module: str) -> bool:
    if _within(module, _added):
        return True
    return _within(module, PACKAGES) and not _within(module, EXCEPT)


def _within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _defining_module(found: Any) -> str | None:
    """The module of a class, a function, a class's method or an enum's member."""
    if isinstance(found, MethodType):
        found = found.__func__ if isinstance(found.__self__, type) else None
    if isinstance(found, enum.Enum):
        found = type(found)
    if not isinstance(found, (type, FunctionType, BuiltinFunctionType)):
        return None
    module = getattr(found, "__module__", None)
    return module if isinstance(module, str) else None


def _is_method(name: str, found: Any) -> bool:
    """Whether a name is that of a function that wants an object as its first argument.

    A file could give it any object that it has made.
    """
    holder_name, _, attribute = name.rpartition(".")
    holder = locate(holder_name) if "." in holder_name else None
    if not isinstance(holder, type) or isinstance(found, enum.Enum):
        return False
    held = inspect.getattr_static(holder, attribute, None)
    return not isinstance(held, (type, classmethod, staticmethod))
