"""Load YAML files that build on others through ``_BASE_``."""

import functools
from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import ConfigFileError
from .key_paths import join
from .python_file import read_text
from .safe_yaml import YamlDocument, parse_yaml

BASE_KEY = "_BASE_"
CONFIG_FOLDERS = "d2_config.config_folders"


def load_with_base(
    filename: str | Path, *, allow_unsafe: bool = False, inheritors: tuple[Path, ...] = ()
) -> YamlDocument:
    """Load a YAML file on top of the file or files its ``_BASE_`` names.

    A base is looked up relative to the file that names it, then in the folders that installed
    packages declare as config folders (entry points of group ``d2_config.config_folders``, each a
    dotted folder name such as ``d2_engine.model_zoo.configs``). Of several bases, later ones win;
    the file itself wins over all.

    Args:
        filename: the YAML file; ``~`` is the home folder.
        allow_unsafe: let tags construct arbitrary Python objects, in the bases, too.
        inheritors: the files, outermost first, whose ``_BASE_`` led here.

    Raises:
        FileNotFoundError: if the file or a base does not exist.
        ConfigFileError: (a ``ValueError``) if a file is not valid or safe YAML, not a mapping, or
            is its own base.
    """
    path = Path(filename).expanduser().resolve()
    if path in inheritors:
        circle = " -> ".join(str(p) for p in (*inheritors, path))
        raise ConfigFileError(f"{BASE_KEY} goes round in a circle: {circle}")
    document = parse_yaml(read_text(path), path, allow_unsafe=allow_unsafe)
    if document.data is None:
        return YamlDocument({}, {}, document.source)
    if not isinstance(document.data, dict):
        # Not the content: a base may be any file of this machine.
        kind = type(document.data).__name__
        raise ConfigFileError(f"{path} is no config: it must hold keys and values, got a {kind}")
    if BASE_KEY not in document.data:
        return document
    bases = document.data.pop(BASE_KEY)
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        base_path = _find_base(base, path, document.where(BASE_KEY))
        loaded = load_with_base(
            base_path, allow_unsafe=allow_unsafe, inheritors=(*inheritors, path)
        )
        _merge(loaded.data, merged, "", loaded)
        places.update(loaded.places)
    _merge(document.data, merged, "", document)
    return YamlDocument(merged, {**places, **document.places}, document.source)


def _find_base(base: Any, path: Path, place: str) -> Path:
    if not isinstance(base, str) or not base:
        raise ConfigFileError(f"{place}: {BASE_KEY} must be a file name, got {base!r}")
    if "://" in base:
        raise ConfigFileError(
            f"{place}: {BASE_KEY} is the URL {base!r}; configs are not downloaded. "
            "Save that file beside this one and name it here"
        )
    beside = path.parent / Path(base).expanduser()
    folders = () if Path(base).is_absolute() else _packaged_folders()
    for candidate in (beside, *(folder / base for folder in folders)):
        if candidate.is_file():
            return candidate
    try:
        read_text(beside)
    except FileNotFoundError as error:
        searched = f" Looked in {', '.join(map(str, folders))}, too." if folders else ""
        raise FileNotFoundError(f"{place}: {BASE_KEY} names {base!r}: {error}{searched}") from None
    return beside


@functools.cache
def _packaged_folders() -> tuple[Path, ...]:
    from importlib.metadata import entry_points  # not quick to import

    folders: list[Path] = []
    for entry in entry_points(group=CONFIG_FOLDERS):
        # Only the top package is located, and none imported: it may be heavy.
        package, _, rest = entry.value.partition(".")
        spec = find_spec(package)
        roots = (spec.submodule_search_locations or ()) if spec else ()
        folders += [Path(root, *rest.split(".")) for root in roots]
    return tuple(folders)


def _merge(
    winner: Mapping[str, Any], into: MutableMapping[str, Any], path: str, document: YamlDocument
) -> None:
    """Put ``winner``'s values over those of ``into``, section by section."""
    for key, value in winner.items():
        key_path = join(path, key)
        if isinstance(value, dict) and key in into:
            if not isinstance(into[key], dict):
                raise ConfigFileError(
                    f"{document.where(key_path)}: {key_path} is a section here, "
                    f"but its base has the value {into[key]!r}"
                )
            _merge(value, into[key], key_path, document)
        else:
            into[key] = value
