"""Load, change, save and show lazy configs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from . import overrides as _overrides
from . import python_code, saving
from .errors import ConfigFileError, ConfigKeyError, did_you_mean
from .nodes import as_config, is_mapping
from .python_file import CHAIN, read_text, run_python_file
from .safe_yaml import parse_yaml

Keys = str | tuple[str, ...] | None


class LazyConfig:
    """Functions on omegaconf configs that may describe calls (see :class:`LazyCall`)."""

    @staticmethod
    def load(
        filename: str | os.PathLike[str], keys: Keys = None, *, allow_unsafe: bool = False
    ) -> Any:
        """Load a config file.

        A ``.py`` file is code and is run; a ``.yaml`` or ``.yml`` file is only read.

        Args:
            filename: absolute, or relative to the current working directory.
            keys: names in the file to return. If not given, all whose values are dictionaries.
            allow_unsafe: let tags in a YAML file construct Python objects.

        Returns:
            One config node for ``None``; the value for a single name; a tuple for a tuple.
            Dictionaries are omegaconf nodes that may hold any object.

        Raises:
            FileNotFoundError: if there is no such file.
            ConfigKeyError: (a ``KeyError``) if a name is not in the file.
            SyntaxError: if a Python file cannot be parsed.
            ConfigFileError: (a ``ValueError``) if the file is of another kind, is not valid YAML,
                has a tag that is refused, or raises while it runs.
        """
        return _load(Path(filename), keys, (), allow_unsafe)

    @staticmethod
    def load_rel(
        filename: str | os.PathLike[str], keys: Keys = None, *, allow_unsafe: bool = False
    ) -> Any:
        """Load a config file, like :meth:`load`, but relative to the caller's source file.

        Raises:
            ConfigFileError: (a ``ValueError``) if the caller is not in a file.
        """
        caller = sys._getframe(1)
        caller_file = Path(caller.f_code.co_filename)
        if not caller_file.is_file():
            raise ConfigFileError(
                f"load_rel({os.fspath(filename)!r}) needs a caller that is in a file, "
                f"not in {caller.f_code.co_filename}; use LazyConfig.load"
            )
        chain = caller.f_globals.get(CHAIN, ())
        return _load(caller_file.parent / filename, keys, chain, allow_unsafe)

    @staticmethod
    def save(cfg: DictConfig | ListConfig, filename: str | os.PathLike[str]) -> None:
        """Save a config as YAML that :meth:`load` reads; see :func:`d2_config.saving.save`."""
        saving.save(cfg, filename)

    @staticmethod
    def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """Change ``cfg`` in place; see :func:`d2_config.overrides.apply_overrides`."""
        return _overrides.apply_overrides(cfg, overrides)

    @staticmethod
    def to_py(cfg: Any, prefix: str = "cfg.") -> str:
        """Return the code ``cfg`` stands for; see :func:`d2_config.python_code.to_py`."""
        return python_code.to_py(cfg, prefix)


def _load(path: Path, keys: Keys, chain: tuple[Path, ...], allow_unsafe: bool) -> Any:
    path = Path(os.path.abspath(path))
    if path.suffix == ".py":
        names = run_python_file(path, chain)
    elif path.suffix in (".yaml", ".yml"):
        data = parse_yaml(read_text(path), path, allow_unsafe=allow_unsafe).data
        if not isinstance(data, dict):
            kind = type(data).__name__
            raise ConfigFileError(f"{path} must hold a mapping at the top, got {kind}")
        names = data
    else:
        raise ConfigFileError(f"a config file ends in .py, .yaml or .yml, got {path}")
    if keys is None and path.suffix == ".py":
        return as_config(
            {
                name: as_config(value)
                for name, value in names.items()
                if is_mapping(value) and not name.startswith("_")
            }
        )
    if keys is None:
        return as_config(names)
    if isinstance(keys, str):
        return _pick(names, keys, path)
    return tuple(_pick(names, key, path) for key in keys)


def _pick(names: dict[str, Any], key: str, path: Path) -> Any:
    if key not in names:
        public = [name for name in names if not str(name).startswith("_")]
        raise ConfigKeyError(f"{path} defines no {key!r}.{did_you_mean(key, public)}")
    return as_config(names[key])
