"""Transforms of segmentations that move whole rows and columns, as two lists of indices."""

from collections.abc import Iterable

import numpy as np

from d2_data.transforms.color import BlendTransform, ColorTransform, PILColorTransform
from d2_data.transforms.flip import HFlipTransform, VFlipTransform
from d2_data.transforms.resampling import nearest_indices
from d2_data.transforms.resize import ResizeTransform
from d2_data.transforms.transform import NoOpTransform, Transform
from d2_data.transforms.windows import CropTransform, PadTransform

OUTSIDE = -1
"""In place of an index where there was nothing before."""

_STILL = (NoOpTransform, BlendTransform, ColorTransform, PILColorTransform)


def index_maps(
    steps: Iterable[Transform], height: int, width: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """What ``apply_segmentation`` of some transforms does in turn, all in one.

    Args:
        steps: the transforms.
        height, width: of the segmentation before, in pixels.

    Returns:
        For each row of the result the row before, and for each column the column before;
        :data:`OUTSIDE` in a border that was added. Both rise or fall throughout. None where the
        transforms move pixels in another way, or are not for this size.
    """
    rows, columns = np.arange(height), np.arange(width)
    for step in steps:
        kind = type(step)
        if isinstance(step, HFlipTransform) and kind is HFlipTransform:
            columns = columns[::-1]
        elif isinstance(step, VFlipTransform) and kind is VFlipTransform:
            rows = rows[::-1]
        elif isinstance(step, ResizeTransform) and kind is ResizeTransform:
            if (len(rows), len(columns)) != (step.h, step.w):
                return None
            rows = rows[nearest_indices(step.h, step.new_h)]
            columns = columns[nearest_indices(step.w, step.new_w)]
        elif isinstance(step, CropTransform) and kind is CropTransform:
            rows = rows[step.y0 : step.y0 + step.h]
            columns = columns[step.x0 : step.x0 + step.w]
        elif isinstance(step, PadTransform) and kind is PadTransform:
            rows = np.pad(rows, (step.y0, step.y1), constant_values=OUTSIDE)
            columns = np.pad(columns, (step.x0, step.x1), constant_values=OUTSIDE)
        elif kind not in _STILL:
            return None
    return rows, columns
