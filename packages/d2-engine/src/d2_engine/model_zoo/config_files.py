"""Where the packaged configs are."""

from importlib.resources import files
from pathlib import Path

from d2_config.errors import did_you_mean

_SHARED_FOLDERS = {"common", "parts"}
"""Folders of what other configs are made of."""


def get_config_file(config_path: str) -> str:
    """Return the path of a packaged config.

    Args:
        config_path: relative to the folder of configs, e.g.
            ``"COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"``.

    Raises:
        FileNotFoundError: if there is none of that name; names close matches.
    """
    path = _folder() / config_path
    if not path.is_file():
        known = list_config_files()
        hint = did_you_mean(config_path, known) or " The command d2 zoo --all lists them."
        raise FileNotFoundError(f"no packaged config is called {config_path!r}.{hint}")
    return str(path)


def list_config_files() -> list[str]:
    """Return the names of the packaged configs, those that others build on left out."""
    folder = _folder()
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(
        path.as_posix()
        for path in paths
        if path.suffix in (".py", ".yaml")
        and not path.name.startswith("Base-")
        and not _SHARED_FOLDERS.intersection(path.parts)
    )


def _folder() -> Path:
    return Path(str(files("d2_engine"))) / "model_zoo" / "configs"
