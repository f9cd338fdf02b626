"""Run a Python config file, with relative imports that need no ``__init__.py``."""

import builtins
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .errors import ConfigFileError, did_you_mean

CHAIN = "__config_chain__"


_MAX_BYTES = 16 * 2**20
"""Of a config file: what is larger is something else."""


def run_python_file(path: Path, importers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Execute the config file at ``path`` and return its global names.

    Relative imports inside the file load other config files. They work through an ``__import__``
    that only this file's globals see; the interpreter's import state is not touched, so files can
    be loaded from several threads at once. Each import runs its file anew: editing what was
    imported never changes what another file gets.

    Args:
        path: the file to run.
        importers: the files, outermost first, whose loading led here.

    Raises:
        FileNotFoundError: if there is no such file; names close matches.
        SyntaxError: if the file is not valid Python.
        ConfigFileError: (a ``ValueError``) if the file raises, or imports itself.
    """
    path = path.resolve()
    if path in importers:
        circle = " -> ".join(str(p) for p in (*importers, path))
        raise ConfigFileError(f"config files import each other in a circle: {circle}")
    code = _compile(path)
    importer = _RelativeImporter(path, (*importers, path))
    namespace: dict[str, Any] = {
        "__name__": f"d2_config_file.{path.stem}",
        "__file__": str(path),
        "__package__": None,
        # A function's builtins come from its globals: this is what confines the importer.
        "__builtins__": {**vars(builtins), "__import__": importer},
        CHAIN: importer.chain,
    }
    try:
        exec(code, namespace)
    except (ConfigFileError, SyntaxError):
        raise
    except Exception as error:
        raise ConfigFileError(_failure(path, error)) from error
    return namespace


def read_text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        FileNotFoundError: if there is no such file; names close matches in its folder.
        ConfigFileError: (a ``ValueError``) if it is not UTF-8, or much too large for a config.
    """
    require_file(path)
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ConfigFileError(f"{path} is no config: it has {size:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigFileError(f"config file {path} is not UTF-8 text: {error}") from error


def require_file(path: Path) -> None:
    """Raise ``FileNotFoundError`` if ``path`` is no file; name close matches in its folder."""
    if path.is_file():
        return
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, beside)
    if not path.parent.is_dir():
        hint = f" There is no folder {path.parent}."
    raise FileNotFoundError(f"no config file {path}.{hint}")


def _compile(path: Path) -> CodeType:
    text = read_text(path)
    try:
        return compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        message = f"config file {path}, line {error.lineno} is not valid Python: {error.msg}"
        location = (str(path), error.lineno, error.offset, error.text)
        raise SyntaxError(message, location) from error
    except ValueError as error:  # null bytes
        raise ConfigFileError(f"config file {path} is not valid Python: {error}") from error


def _failure(path: Path, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f", line {lines[-1]}," if lines else ""
    return f"config file {path}{where} failed: {type(error).__name__}: {error}"


class _RelativeImporter:
    """The ``__import__`` of one config file."""

    def __init__(self, path: Path, chain: tuple[Path, ...]) -> None:
        self._folder = path.parent
        self.chain = chain

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0:
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        folder = self._folder
        for _ in range(level - 1):
            folder = folder.parent
        if name:
            return self._load(_find(folder, name, self.chain[-1]), fromlist or ())
        # from . import a, b: each name is a file
        package = ModuleType("d2_config_file")
        for file_name in fromlist or ():
            found = _find(folder, file_name, self.chain[-1])
            setattr(package, file_name, self._load(found, ()))
        return package

    def _load(self, path: Path, names: Sequence[str]) -> ModuleType:
        from .nodes import as_config  # omegaconf is not quick to import, and yacs needs it not

        namespace = run_python_file(path, self.chain)
        public = [key for key in namespace if not key.startswith("_")]
        module = ModuleType(namespace["__name__"])
        vars(module).update(namespace)
        for name in public if "*" in names or not names else names:
            if name not in namespace:
                raise ImportError(f"{path} defines no {name!r}.{did_you_mean(name, public)}")
            setattr(module, name, as_config(namespace[name]))
        return module


def _find(folder: Path, dotted: str, importer: Path) -> Path:
    stem = folder.joinpath(*dotted.split("."))
    for candidate in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    beside = [p.stem for p in stem.parent.glob("*.py")] if stem.parent.is_dir() else []
    hint = did_you_mean(stem.name, beside)
    raise ImportError(f"{importer} imports {dotted!r}, but there is no {stem}.py.{hint}")
