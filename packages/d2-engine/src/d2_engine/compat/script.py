"""A script or module, run with ``detectron2`` importable.

Processes that it spawns begin with this module, too: the main module's ``__spec__`` names it.
"""

import importlib.util
import os
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from d2_engine.compat.finder import install

_MAIN = "D2_COMPAT_MAIN"
"""Environment variable that tells spawned processes what the main module is."""


def run_script(path: str) -> None:
    """Run a Python file as ``python path`` does."""
    sys.path[0] = str(Path(path).resolve().parent)
    _run(path, "")


def run_module(name: str) -> None:
    """Run a module as ``python -m name`` does.

    Raises:
        ImportError: if there is none.
    """
    install()
    sys.path[0] = os.getcwd()
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no module {name} to run")
    sys.argv[0] = spec.origin
    _run(spec.origin, spec.parent or "")


def _run(path: str, package: str) -> None:
    install()
    os.environ[_MAIN] = f"{path}{os.pathsep}{package}"
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    _execute(path, package, main.__dict__)


def _execute(path: str, package: str, namespace: dict[str, Any]) -> None:
    namespace["__file__"] = path
    namespace["__package__"] = package or None
    namespace["__builtins__"] = __builtins__
    loader = SourceFileLoader(namespace["__name__"], path)
    namespace["__loader__"] = loader
    namespace["__spec__"] = _MainSpec(package, loader)
    code = compile(Path(path).read_bytes(), path, "exec")
    exec(code, namespace)  # it is what the user asked to run


class _MainSpec(ModuleSpec):
    """Names this module to processes that are spawned, and the package to relative imports."""

    def __init__(self, package: str, loader: SourceFileLoader) -> None:
        super().__init__("d2_engine.compat.script", loader)
        self._package = package

    @property
    def parent(self) -> str:
        return self._package


if __name__ == "__mp_main__":  # in a spawned process
    install()
    _path, _, _package = os.environ[_MAIN].rpartition(os.pathsep)
    _execute(_path, _package, globals())
