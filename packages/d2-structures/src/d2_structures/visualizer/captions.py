"""The text beside an instance or a segment."""

from collections.abc import Sequence
from typing import Any

__all__ = ["class_name", "instance_captions"]


def class_name(class_id: int, names: Sequence[str] | None) -> str:
    """The name of a class, or its number where it has none."""
    if names is not None and 0 <= class_id < len(names):
        return str(names[class_id])
    return str(class_id)


def instance_captions(
    classes: Sequence[int] | None,
    scores: Sequence[float] | None,
    names: Sequence[str] | None,
    is_crowd: Sequence[Any] | None = None,
) -> list[str] | None:
    """Captions such as ``"person 95%"`` or ``"person|crowd"``, None if nothing is known."""
    if classes is None and scores is None:
        return None
    count = len(classes if classes is not None else scores or [])
    captions = [""] * count if classes is None else [class_name(int(c), names) for c in classes]
    if scores is not None:
        captions = [f"{c} {s * 100:.0f}%".strip() for c, s in zip(captions, scores, strict=True)]
    if is_crowd is not None:
        marks = ["|crowd" if crowd else "" for crowd in is_crowd]
        captions = [c + mark for c, mark in zip(captions, marks, strict=True)]
    return captions
