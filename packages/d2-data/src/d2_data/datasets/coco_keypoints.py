"""How COCO's categories describe their keypoints, in the terms of metadata."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["describe_keypoints"]

_logger = logging.getLogger(__name__)

Color = tuple[int, int, int]

_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))
_LEFT_COLOR = (0, 158, 115)
_RIGHT_COLOR = (213, 94, 0)
_MIDDLE_COLOR = (0, 114, 178)


def describe_keypoints(
    categories: Sequence[dict[str, Any]], known: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Derive metadata from the keypoints and the skeleton that categories declare.

    Args:
        categories: of a COCO file; those with ``keypoints`` count.
        known: what the metadata holds already; none of it is derived again.
        where: names the file in messages.

    Returns:
        What can be said of ``keypoint_names``; of ``keypoint_flip_map``, pairs of names that
        differ in left and right; and of ``keypoint_connection_rules``, coloured by side. Empty
        if no category declares keypoints, if they declare different ones, or if ``known`` has
        other names.

    Raises:
        ValueError: if ``keypoints`` are not different names.
    """
    declaring = [category for category in categories if category.get("keypoints")]
    if not declaring:
        return {}
    names = _names(declaring[0], where)
    if any(category["keypoints"] != names for category in declaring):
        _logger.warning(
            "%s: categories declare different keypoints, which metadata cannot express; "
            "'keypoint_names' and what goes with them are left unset",
            where,
        )
        return {}
    if list(known.get("keypoint_names", names)) != names:
        return {}
    derived = {
        "keypoint_names": names,
        "keypoint_flip_map": _mirrored_pairs(names),
        "keypoint_connection_rules": _connections(names, declaring[0], where),
    }
    return {key: value for key, value in derived.items() if value and key not in known}


def _names(category: dict[str, Any], where: str) -> list[str]:
    names = category["keypoints"]
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not valid or len(set(names)) != len(names):
        raise ValueError(
            f"{where}: category {category.get('name')!r} has 'keypoints' {names!r}; wanted a list "
            "of names, all different"
        )
    return names


def _mirrored_pairs(names: list[str]) -> list[tuple[str, str]]:
    """Pairs of left and right; none at all if one lacks its counterpart.

    Half a map would mirror some keypoints wrongly and in silence. Without one, augmentations
    that flip ask for it.
    """
    pairs = [
        (name, name.replace(left, right))
        for name in names
        for left, right in _SIDES
        if left in name
    ]
    paired = {name for pair in pairs for name in pair}
    sided = {name for name in names if _side(name)}
    return pairs if paired == sided else []


def _connections(
    names: list[str], category: dict[str, Any], where: str
) -> list[tuple[str, str, Color]]:
    skeleton = category.get("skeleton") or []
    for bone in skeleton:
        if not _is_bone(bone, len(names)):
            _logger.warning(
                "%s: the skeleton of category %r joins %r; wanted two numbers from 1 to %d. The "
                "keypoints are left unconnected in pictures",
                where,
                category.get("name"),
                bone,
                len(names),
            )
            return []
    bones = ((names[first - 1], names[second - 1]) for first, second in skeleton)
    return [(first, second, _color(first, second)) for first, second in bones]


def _is_bone(bone: Any, num_keypoints: int) -> bool:
    numbers = range(1, num_keypoints + 1)
    return (
        isinstance(bone, list)
        and len(bone) == 2
        and all(isinstance(number, int) and number in numbers for number in bone)
    )


def _color(first: str, second: str) -> Color:
    sides = {_side(first), _side(second)} - {""}
    if len(sides) != 1:
        return _MIDDLE_COLOR
    return _LEFT_COLOR if sides == {"left"} else _RIGHT_COLOR


def _side(name: str) -> str:
    """``"left"``, ``"right"`` or nothing."""
    sides = [side for side in ("left", "right") if side in name.lower()]
    return sides[0] if len(sides) == 1 else ""
