"""How a version of an image lies, and its maps within boxes with it."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from d2_data.transforms import Transform


class Mirroring(NamedTuple):
    """Whether a transform exchanges left and right, and top and bottom."""

    horizontal: bool
    vertical: bool

    @classmethod
    def of(cls, transform: Transform) -> "Mirroring":
        """Find out by moving a corner and its neighbours.

        Raises:
            ValueError: if the transform turns or shears.
        """
        corner, right, below = transform.apply_coords(
            np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        )
        (x_along, x_across), (y_across, y_along) = right - corner, below - corner
        if max(abs(x_across), abs(y_across)) > 1e-3 * max(abs(x_along), abs(y_along)):
            raise ValueError(
                "masks and keypoints are brought back from versions that are scaled, cropped, "
                f"padded or mirrored, not from one that is turned; got the transforms {transform}"
            )
        return cls(horizontal=bool(x_along < 0), vertical=bool(y_along < 0))

    def undone(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) maps within boxes, mirrored in the same way."""
        dims = [dim for dim, mirrored in ((3, self.horizontal), (2, self.vertical)) if mirrored]
        return maps.flip(dims) if dims else maps
