"""Load, change, save and show lazy configs."""

import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from . import overrides as _overrides
from . import python_code, saving
from .errors import ConfigFileError, ConfigKeyError, did_you_mean
from .nodes import as_config, is_mapping
from .python_file import CHAIN, read_text, require_file, run_python_file
from .safe_yaml import parse_yaml
from .trusted_targets import mark_untrusted

Keys = str | tuple[str, ...] | None


class LazyConfig:
    """Functions on omegaconf configs that may describe calls (see :class:`LazyCall`)."""

    @staticmethod
    def load(
        filename: str | os.PathLike[str], keys: Keys = None, *, allow_unsafe: bool = False
    ) -> Any:
        """Load a config file.

        A ``.py`` file is code and is run; a ``.yaml`` or ``.yml`` file is only read, and what it
        describes is built from trusted packages (see :func:`~d2_config.trust_targets`). A ``.pkl``
        file, which :meth:`save` writes where YAML cannot hold a value, runs the code in it and is
        refused unless allowed.

        Args:
            filename: absolute, or relative to the current working directory.
            keys: names in the file to return. If not given, all whose values are dictionaries.
            allow_unsafe: load a pickle; let tags in a YAML file construct Python objects and its
                targets be anything. All run whatever code the file holds: only for files that you
                wrote or inspected.

        Returns:
            One config node for ``None``; the value for a single name; a tuple for a tuple.
            Dictionaries are omegaconf nodes that may hold any object.

        Raises:
            FileNotFoundError: if there is no such file.
            ConfigKeyError: (a ``KeyError``) if a name is not in the file.
            SyntaxError: if a Python file cannot be parsed.
            ConfigFileError: (a ``ValueError``) if the file is of another kind, is not valid YAML,
                has a tag that is refused, is a pickle without ``allow_unsafe``, or raises while it
                runs.
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
        """Save a config as YAML that :meth:`load` reads; with a pickle where that is not enough.

        See :func:`d2_config.saving.save`.
        """
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
        names = _mapping(parse_yaml(read_text(path), path, allow_unsafe=allow_unsafe).data, path)
    elif path.suffix == ".pkl":
        names = _mapping(_unpickle(path, allow_unsafe), path)
    else:
        raise ConfigFileError(f"a config file ends in .py, .yaml, .yml or .pkl, got {path}")
    marked = path.suffix in (".yaml", ".yml") and not allow_unsafe
    if keys is None and path.suffix == ".py":
        return as_config(
            {
                name: as_config(value)
                for name, value in names.items()
                if is_mapping(value) and not name.startswith("_")
            }
        )
    if keys is None:
        cfg = as_config(names)
        return mark_untrusted(cfg) if marked else cfg
    picked = tuple(_pick(names, key, path) for key in ((keys,) if isinstance(keys, str) else keys))
    if marked:
        picked = tuple(map(mark_untrusted, picked))
    return picked[0] if isinstance(keys, str) else picked


def _mapping(data: Any, path: Path) -> Any:
    if not is_mapping(data):
        kind = type(data).__name__
        raise ConfigFileError(f"{path} must hold a mapping at the top, got {kind}")
    return data


def _unpickle(path: Path, allow_unsafe: bool) -> Any:
    require_file(path)
    if not allow_unsafe:
        raise ConfigFileError(
            f"{path} is a pickle: loading it runs whatever code is in it, and is refused. Load the "
            "YAML file beside it instead, or pass allow_unsafe=True if you wrote this file"
        )
    try:
        return pickle.loads(path.read_bytes())
    except Exception as error:  # the code in it may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ConfigFileError(f"{path} cannot be unpickled: {reason}") from error


def _pick(names: Any, key: str, path: Path) -> Any:
    if key not in names:
        public = [name for name in names if not str(name).startswith("_")]
        raise ConfigKeyError(f"{path} defines no {key!r}.{did_you_mean(key, public)}")
    return as_config(names[key])
