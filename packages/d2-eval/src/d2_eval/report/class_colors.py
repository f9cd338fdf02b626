"""Colours by which classes are told apart on a photograph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

Rgb = tuple[int, int, int]

# The first ones are rare in photographs.
_PALETTE: tuple[Rgb, ...] = (
    (255, 64, 160),
    (0, 196, 230),
    (255, 176, 0),
    (120, 210, 40),
    (150, 90, 255),
    (255, 96, 32),
    (40, 120, 255),
    (0, 170, 120),
    (190, 130, 80),
    (200, 60, 60),
    (230, 150, 255),
    (150, 160, 40),
)


def class_colors(pictures: Sequence[Collection[int]]) -> dict[int, Rgb]:
    """One colour for each class, classes of the same picture in different ones where possible.

    Args:
        pictures: the classes that occur in each picture.

    Returns:
        Colours by class. The most frequent class gets the first colour of the palette.
    """
    colors: dict[int, int] = {}
    frequency = Counter(label for classes in pictures for label in set(classes))
    for label, _ in sorted(frequency.items(), key=lambda item: (-item[1], item[0])):
        beside = _classes_beside(label, pictures)
        taken_beside = Counter(colors[other] for other in beside if other in colors)
        taken = Counter(colors.values())
        colors[label] = min(
            range(len(_PALETTE)), key=lambda index: (taken_beside[index], taken[index], index)
        )
    return {label: _PALETTE[index] for label, index in colors.items()}


def _classes_beside(label: int, pictures: Iterable[Collection[int]]) -> list[int]:
    """The other classes of the pictures of a class, as often as they are there."""
    return [other for classes in pictures if label in classes for other in set(classes) - {label}]
