"""Where the packaged configs are, and by which names they are found."""

import re
from difflib import SequenceMatcher
from importlib.resources import files
from pathlib import Path, PurePosixPath

_SHARED_FOLDERS = {"common", "parts"}
"""Folders of what other configs are made of."""

_SUFFIXES = (".py", ".yaml")

_AS_DOCUMENTED = re.compile(r"^(\.\./)?configs/")
"""What detectron2's documentation has before the names of its configs."""

_SIMILAR = 0.6
_AS_GOOD_AS_THE_BEST = 0.1
_SHOWN = 5


def get_config_file(config_path: str) -> str:
    """Return the path of a packaged config.

    Args:
        config_path: relative to the folder of configs, e.g.
            ``"COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"``; the folder and the suffix
            may be left out where one config only is meant.

    Raises:
        FileNotFoundError: if there is none of that name; names close matches.
        ValueError: if several configs are meant; lists them.
    """
    return str(_folder() / packaged_name(config_path))


def packaged_name(config_path: str) -> str:
    """Return the whole name of a packaged config.

    Args, Raises: as for :func:`get_config_file`.
    """
    wanted = _AS_DOCUMENTED.sub("", config_path)
    file = (_folder() / wanted).resolve()
    if file.is_file() and file.is_relative_to(_folder().resolve()):
        return wanted
    known = list_config_files()
    meant = [name for name in known if _is_short_for(wanted, name)]
    if len(meant) > 1:
        raise ValueError(
            f"{config_path!r} may mean {' or '.join(meant)}: add the folder or the suffix"
        )
    if not meant:
        hint = _close_matches(wanted, known)
        raise FileNotFoundError(
            f"there is no file {config_path!r}, and no packaged config of that name.{hint}"
        )
    return meant[0]


def list_config_files() -> list[str]:
    """Return the names of the packaged configs, those that others build on left out."""
    folder = _folder()
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(
        path.as_posix()
        for path in paths
        if path.suffix in _SUFFIXES
        and not path.name.startswith("Base-")
        and not _SHARED_FOLDERS.intersection(path.parts)
    )


def _folder() -> Path:
    return Path(str(files("d2_engine"))) / "model_zoo" / "configs"


def _is_short_for(short: str, name: str) -> bool:
    """Whether a name with folders or the suffix left out may mean a whole one."""
    endings = {name, str(PurePosixPath(name).with_suffix(""))}
    return bool(short) and any(f"/{ending}".endswith(f"/{short}") for ending in endings)


def _close_matches(wanted: str, known: list[str]) -> str:
    """`` Did you mean x or y?``: configs whose file names are closest to that of ``wanted``."""
    stem = _stem(wanted)
    ranked = sorted(
        known, key=lambda name: (-_similarity(stem, _stem(name)), -_similarity(wanted, name))
    )
    best = _similarity(stem, _stem(ranked[0]))
    enough = max(_SIMILAR, best - _AS_GOOD_AS_THE_BEST)
    close = [name for name in ranked if _similarity(stem, _stem(name)) >= enough]
    if not close:
        return " The command d2 zoo --all lists them."
    return f" Did you mean {' or '.join(close[:_SHOWN])}?"


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix in (*_SUFFIXES, ".yml") else path.name


def _similarity(a: str, b: str) -> float:
    return SequenceMatcher(None, a.lower(), b.lower()).ratio()
