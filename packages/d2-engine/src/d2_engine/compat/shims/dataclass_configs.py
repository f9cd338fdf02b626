"""Dataclass objects described by ``_target_``; d2's configs hold them as they are."""

import dataclasses
from typing import Any


def dump_dataclass(obj: Any) -> dict[str, Any]:
    """Describe a dataclass object, and those in its fields, by ``_target_`` and its fields.

    Raises:
        TypeError: for what is no such object.
    """
    if isinstance(obj, type) or not dataclasses.is_dataclass(obj):
        raise TypeError(f"dump_dataclass wants an object of a dataclass, got {obj!r}")
    described: dict[str, Any] = {"_target_": f"{type(obj).__module__}.{type(obj).__qualname__}"}
    for field in dataclasses.fields(obj):
        described[field.name] = _dumped(getattr(obj, field.name))
    return described


def _dumped(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dump_dataclass(value)
    if isinstance(value, (list, tuple)):
        return [_dumped(item) for item in value]
    return value
