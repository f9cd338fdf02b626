"""Keypoints of one instance, joined as the metadata says."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .canvas import Stroke
from .colors import Color, color_from_bytes
from .strokes import path_segments
from .style import Style

__all__ = ["KEYPOINT_THRESHOLD", "Skeleton", "read_skeleton"]

KEYPOINT_THRESHOLD = 0.05
"""Keypoints of lower probability are not drawn."""

_TRUNK = Color(0.91, 0.3, 0.24)
_POINT = Color(0.91, 0.3, 0.24)
_RIM = Color(1.0, 1.0, 1.0)


class Bone(NamedTuple):
    """A line between the middles of two groups of keypoints."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    color: Color


class Skeleton(NamedTuple):
    """How the keypoints of a category are joined and coloured."""

    bones: tuple[Bone, ...]
    point_colors: dict[int, Color]

    def strokes(self, keypoints: NDArray[np.float64], style: Style) -> list[Stroke]:
        """What draws (K, 3) keypoints x, y in output pixels and probability."""
        strokes = []
        seen = keypoints[:, 2] > KEYPOINT_THRESHOLD
        for begin, end, color in self.bones:
            if max(*begin, *end) < len(seen) and seen[[*begin, *end]].all():
                ends = np.stack([keypoints[list(group), :2].mean(axis=0) for group in (begin, end)])
                width = max(style.line_width * 1.25, 1.5)
                strokes.append(Stroke(path_segments(ends), width, color))
        for index in np.flatnonzero(seen).tolist():
            dot = path_segments(keypoints[index : index + 1, :2])
            inner = self.point_colors.get(index, _POINT)
            strokes.append(Stroke(dot, 2 * style.point_radius + 1, _RIM))
            strokes.append(Stroke(dot, 2 * style.point_radius - 1, inner))
        return strokes


def read_skeleton(
    names: Sequence[str] | None, rules: Sequence[tuple[str, str, Any]] | None
) -> Skeleton:
    """Build a skeleton from ``keypoint_names`` and ``keypoint_connection_rules`` of metadata.

    People also get a neck and a spine, through the middles of shoulders and hips.

    Raises:
        ValueError: if a rule names a keypoint that is not among the names.
    """
    if names is None:
        return Skeleton((), {})
    index_of = {name: index for index, name in enumerate(names)}
    bones = list(_trunk(index_of))
    colors: dict[int, Color] = {}
    for first, second, rgb in rules or ():
        for name in (first, second):
            if name not in index_of:
                raise ValueError(
                    f"keypoint_connection_rules joins {name!r}, keypoint_names has {list(names)}"
                )
        color = color_from_bytes(rgb)
        bones.append(Bone((index_of[first],), (index_of[second],), color))
        for name in (first, second):
            colors.setdefault(index_of[name], color)
    return Skeleton(tuple(bones), colors)


def _trunk(index_of: dict[str, int]) -> list[Bone]:
    bones = []
    if {"left_shoulder", "right_shoulder"} <= index_of.keys():
        shoulders = (index_of["left_shoulder"], index_of["right_shoulder"])
        if "nose" in index_of:
            bones.append(Bone((index_of["nose"],), shoulders, _TRUNK))
        if {"left_hip", "right_hip"} <= index_of.keys():
            hips = (index_of["left_hip"], index_of["right_hip"])
            bones.append(Bone(shoulders, hips, _TRUNK))
    return bones
