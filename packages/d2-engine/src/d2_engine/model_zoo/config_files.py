"""Where the packaged configs are."""

from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig

from d2_config import LazyConfig
from d2_config.errors import did_you_mean


def get_config_file(config_path: str) -> str:
    """Return the path of a packaged config.

    Args:
        config_path: relative to the folder of configs, e.g.
            ``"quickstart/mask_rcnn_shapes.py"``.

    Raises:
        FileNotFoundError: if there is none of that name; lists close matches.
    """
    path = _folder() / config_path
    if not path.is_file():
        known = list_config_files()
        hint = did_you_mean(config_path, known) or f" There are: {', '.join(known)}."
        raise FileNotFoundError(f"no packaged config is called {config_path!r}.{hint}")
    return str(path)


def get_config(config_path: str) -> DictConfig:
    """Load a packaged config.

    Args:
        config_path: as for :func:`get_config_file`.

    Raises:
        FileNotFoundError: if there is none of that name; lists close matches.
    """
    return LazyConfig.load(get_config_file(config_path))


def list_config_files() -> list[str]:
    """Return the names of the packaged configs, those that others build on left out."""
    folder = _folder()
    names = (
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".yaml")
    )
    return sorted(name for name in names if not name.startswith("common/"))


def _folder() -> Path:
    return Path(str(files("d2_engine"))) / "model_zoo" / "configs"
