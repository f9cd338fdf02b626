"""Write a config as the Python code that it stands for."""

from typing import Any

from .dotted_name import qualified_name
from .lazy_call import TARGET
from .nodes import is_mapping, is_sequence, written_children

_LINE_LENGTH = 88
_INDENT = "    "


def to_py(cfg: Any, prefix: str = "cfg.") -> str:
    """Return ``cfg`` as assignments, with lazy calls written as calls.

    Meant for reading. It is not always valid code: interpolations stay strings, and objects are
    written as their ``repr``.

    Args:
        cfg: a config node or dictionary.
        prefix: what each assigned name begins with.

    Returns:
        One assignment per value, ``cfg.train.max_iter = 100``, keys in the order of the config.
    """
    if is_mapping(cfg) and TARGET in cfg:
        return _format(cfg, "", 0)
    return "\n".join(_assignments(cfg, prefix))


def _assignments(cfg: Any, prefix: str) -> list[str]:
    lines: list[str] = []
    for key, value in written_children(cfg):
        name = f"{prefix}{key}"
        if isinstance(key, str) and not key.isidentifier():
            name = f"{prefix.removesuffix('.')}[{key!r}]"
        if is_mapping(value) and len(value) > 0 and TARGET not in value:
            lines += _assignments(value, f"{name}.")
        else:
            lines.append(_format(value, f"{name} = ", 0))
    return lines


def _format(value: Any, lead: str, depth: int) -> str:
    """Return ``lead`` and the code of ``value``, on one line if it fits, else on several."""
    one_line = lead + _inline(value)
    parts = _parts(value)
    if parts is None or len(one_line) + depth * len(_INDENT) <= _LINE_LENGTH:
        return one_line
    opening, items, closing = parts
    if not items:
        return one_line
    pad = _INDENT * (depth + 1)
    body = "".join(f"{pad}{_format(item, name, depth + 1)},\n" for name, item in items)
    return f"{lead}{opening}\n{body}{_INDENT * depth}{closing}"


def _inline(value: Any) -> str:
    parts = _parts(value)
    if parts is None:
        return _leaf(value)
    opening, items, closing = parts
    return opening + ", ".join(name + _inline(item) for name, item in items) + closing


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """Return opening, (lead, item) pairs and closing of a call, dictionary or list."""
    if is_mapping(value):
        children = list(written_children(value))
        if TARGET not in value:
            return "{", [(f"{key!r}: ", item) for key, item in children], "}"
        call = next(item for key, item in children if key == TARGET)
        name = call if isinstance(call, str) else _inline(call)
        return f"{name}(", [(f"{key}=", item) for key, item in children if key != TARGET], ")"
    if isinstance(value, tuple) and is_sequence(value):
        return "(", [("", item) for item in value], ",)" if len(value) == 1 else ")"
    if is_sequence(value):
        return "[", [("", item) for _, item in written_children(value)], "]"
    return None


def _leaf(value: Any) -> str:
    return (qualified_name(value) if callable(value) else None) or repr(value)
