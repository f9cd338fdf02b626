"""Paths of keys in a config, ``model.heads[0].size``, and which exist close to a wrong one."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

_CLOSE = 0.6
_VERY_CLOSE = 0.75
_SHOWN = 3


def join(path: str, key: Any) -> str:
    """Return the path of child ``key`` of ``path``: ``a.b`` or ``a[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def closest_paths(path: str, known: Iterable[str]) -> str:
    """Return `` Did you mean a.b or c.d?`` for the key paths closest to ``path``, or ``""``.

    A path that differs in upper and lower case alone is the only answer. Otherwise they are close
    names in the same section, the same name in other sections, and names of the same section
    that have it as a word, such as ``base_lr`` for ``lr``; where there are none, very close names
    and such words anywhere. Of each kind, the most similar paths come first.

    Args:
        path: the whole path of the key that was not found; ``a.0`` and ``a[0]`` are the same.
        known: all paths that exist, sections included.
    """
    wrong = _parts(path)
    paths = {known_path: _parts(known_path) for known_path in known}
    same = [known_path for known_path, parts in paths.items() if parts == wrong]
    found = (same or _related(wrong, paths))[:_SHOWN]
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _related(wrong: tuple[str, ...], paths: dict[str, tuple[str, ...]]) -> list[str]:
    whole = ".".join(wrong)
    ranked = sorted(paths, key=lambda path: -_likeness(".".join(paths[path]), whole))
    name = {path: paths[path][-1] for path in ranked}
    beside = [path for path in ranked if paths[path][:-1] == wrong[:-1]]
    found = [path for path in beside if _likeness(name[path], wrong[-1]) >= _CLOSE]
    found += [path for path in ranked if name[path] == wrong[-1]]
    found += [path for path in beside if _is_word(wrong[-1], name[path])]
    if not found:
        found = [path for path in ranked if _likeness(name[path], wrong[-1]) >= _VERY_CLOSE]
        found += [path for path in ranked if _is_word(wrong[-1], name[path])]
    return list(dict.fromkeys(found))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[.\[\]]+", path.lower()) if part) or ("",)


def _is_word(word: str, name: str) -> bool:
    return word in name.split("_")


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()
