"""What makes Python import ``detectron2.…`` from d2."""

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from typing import Any

from d2_config import alias_targets, trust_targets
from d2_engine.compat import module_map

ORIGINAL = "detectron2"
BESIDE = ("fvcore", "iopath", "MultiScaleDeformableAttention")
"""What projects import together with it; where it is installed, only what d2 has is hidden."""

_AS_IN_D2 = ("evaluators", "color_augmentation", "iterable_datasets", "loading", "mappers")
"""Bridges that config files may name, because they may name what these derive from."""

_VERSION = "0.6"
"""The version that projects compare with: the last one that was released."""


class CompatModule(types.ModuleType):
    """A module of detectron2 whose names are looked up in d2 when they are used."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return module_map.names_in(self.__name__)
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            value = module_map.resolve(self.__name__, name)
        except AttributeError as error:
            submodule = f"{self.__name__}.{name}"
            if submodule not in module_map.modules():
                raise error
            return importlib.import_module(submodule)
        super().__setattr__(name, value)  # the next access is an ordinary one
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a submodule puts it into its package, over a function of the same name
        # (`detectron2.engine.launch`), which the original puts back.
        if isinstance(value, types.ModuleType) and value.__name__ == f"{self.__name__}.{name}":
            target = module_map.target_of(self.__name__, name)
            if target is not None:
                value = module_map.resolve(self.__name__, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *module_map.names_in(self.__name__)})


class _Loader(Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return CompatModule(spec.name, f"{spec.name}, provided by d2_engine.compat.")

    def exec_module(self, module: types.ModuleType) -> None:
        entry = module_map.modules()[module.__name__]
        if entry.is_same:
            sys.modules[module.__name__] = importlib.import_module(entry.faces[0])
        elif "." not in module.__name__:
            module.__file__ = str(Path(__file__).with_name(f"{ORIGINAL}.py"))
            module.__dict__["__version__"] = _VERSION


class _Finder(MetaPathFinder):
    """Finds the modules of the tables, and says what is not among them."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        root = fullname.partition(".")[0]
        if root != ORIGINAL and root not in BESIDE:
            return None
        if fullname not in module_map.modules():
            if root != ORIGINAL and _folders_of_installed(root):
                return None  # the rest of it is that of the installation
            # Not a ModuleNotFoundError: `from … import …` would hide what this one says.
            raise ImportError(module_map.lacking_module(fullname), name=fullname)
        spec = importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=True)
        spec.submodule_search_locations = (
            [] if root == ORIGINAL else _folders_of_installed(fullname)
        )
        return spec


_FINDER = _Finder()


def install() -> None:
    """Make ``detectron2``, and used parts of fvcore and iopath, importable from d2.

    Config files may then name in ``_target_: detectron2.…`` what they may name of d2. Where fvcore
    or iopath is installed, what d2 has of it takes its place in this process, so that there is one
    ``Transform``, one ``CfgNode``, one ``PathManager``; its other modules are found as before.

    Does nothing where it has been done.

    Raises:
        ImportError: if detectron2 itself is installed, or parts of it, of fvcore or of iopath were
            imported before.
    """
    if is_installed():
        return
    if importlib.util.find_spec(ORIGINAL) is not None:
        raise ImportError(
            "detectron2 is installed, and d2_engine.compat does not hide it: uninstall it (pip "
            "uninstall detectron2), or leave d2_engine.compat out"
        )
    before = sorted(name for name in list(sys.modules) if name in module_map.modules())
    if before:
        raise ImportError(
            f"{before[0]} was imported before d2_engine.compat.detectron2, so that its classes "
            "would be there twice: import d2_engine.compat.detectron2 first"
        )
    sys.meta_path.insert(0, _FINDER)
    for root in (ORIGINAL, *BESIDE):
        alias_targets(root, module_map.translate)
    trust_targets(*(f"{module_map.PACKAGE}.shims.{name}" for name in _AS_IN_D2))


def is_installed() -> bool:
    """Whether ``detectron2`` is importable from d2 in this process."""
    return _FINDER in sys.meta_path


def uninstall() -> None:
    """Undo :func:`install`; what was imported stays with whoever has it."""
    if not is_installed():
        return
    sys.meta_path.remove(_FINDER)
    for name in [*sys.modules]:
        if name in module_map.modules() or name.partition(".")[0] == ORIGINAL:
            del sys.modules[name]
    sys.modules.pop(f"{module_map.PACKAGE}.{ORIGINAL}", None)
    for root in (ORIGINAL, *BESIDE):
        alias_targets(root, None)


def _folders_of_installed(module: str) -> list[str]:
    """Where an installed package has its modules; empty if there is none."""
    folders = [Path(entry or ".", *module.split(".")) for entry in sys.path]
    return [str(folder) for folder in folders if folder.is_dir()]
