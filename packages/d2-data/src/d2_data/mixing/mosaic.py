"""Four pictures round a point."""

from collections.abc import Callable

import numpy as np

from d2_data.mixing.geometry import (
    forget_file_size,
    image_size,
    join_targets,
    on_canvas,
    window,
)
from d2_data.mixing.mix import Mix, Sample

__all__ = ["Mosaic"]


class Mosaic(Mix):
    """Put four samples together: each has a corner at a random point, and is cut at the canvas.

    The sample itself is at the top left; three further ones follow at the top right, the bottom
    left and the bottom right. What a picture does not fill stays bare. Draws the point's x and y,
    then three samples.

    Args:
        size: (height, width) of the canvas in pixels.
        center_range: interval of the point's place, as a share of the canvas.
        prob: in [0, 1], of mixing at all.
        pad_value: of the canvas where it stays bare.
        seg_pad_value: of the semantic labels there.

    Source: Bochkovskiy et al., "YOLOv4: optimal speed and accuracy of object detection", 2020,
    section 3.3.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        center_range: tuple[float, float] = (0.25, 0.75),
        prob: float = 1.0,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        super().__init__(prob)
        if len(size) != 2 or min(size) < 2:
            raise ValueError(f"Mosaic: size is (height, width), each at least 2, got {size!r}")
        if not 0 < center_range[0] <= center_range[1] < 1:
            raise ValueError(
                f"Mosaic: center_range is (low, high) with 0 < low <= high < 1, got "
                f"{center_range!r}"
            )
        self.size = (int(size[0]), int(size[1]))
        self.center_range = center_range
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def mix(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """The canvas with four samples on it."""
        x, y = (
            min(max(round(np.random.uniform(*self.center_range) * side), 1), side - 1)
            for side in reversed(self.size)
        )
        samples = [sample, *(draw() for _ in range(3))]
        placed = [
            self._placed(part, x, y, to_right=index % 2 == 1, to_bottom=index >= 2)
            for index, part in enumerate(samples)
        ]
        result = dict(placed[0])
        for key in ("image", "sem_seg"):
            if key in result:
                result[key] = result[key].clone()
                for index, part in enumerate(placed[1:], start=1):
                    rows = slice(y, None) if index >= 2 else slice(0, y)
                    columns = slice(x, None) if index % 2 else slice(0, x)
                    # A picture may lack semantic labels that another has.
                    piece = part[key][..., rows, columns] if key in part else self.seg_pad_value
                    result[key][..., rows, columns] = piece
        join_targets(result, placed)
        forget_file_size(result, sample)
        return result

    def _placed(self, sample: Sample, x: int, y: int, *, to_right: bool, to_bottom: bool) -> Sample:
        """A sample on the canvas, beside the point, without what does not fit."""
        height, width = image_size(sample)
        kept_w = min(width, self.size[1] - x if to_right else x)
        kept_h = min(height, self.size[0] - y if to_bottom else y)
        # The corner that is at the point stays.
        cut = window(
            sample,
            0 if to_right else width - kept_w,
            0 if to_bottom else height - kept_h,
            kept_w,
            kept_h,
        )
        left = x if to_right else x - kept_w
        top = y if to_bottom else y - kept_h
        return on_canvas(cut, self.size, left, top, self.pad_value, self.seg_pad_value)
