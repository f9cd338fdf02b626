"""Two pictures shining through each other."""

from collections.abc import Callable

import numpy as np

from d2_data.mixing.geometry import forget_file_size, image_size, join_targets, on_canvas
from d2_data.mixing.mix import Mix, Sample

__all__ = ["MixUp"]


class MixUp(Mix):
    """Blend two samples; the objects of both are learned, each as if it were opaque.

    Both lie at the top left of a canvas that holds both. Of semantic labels those of the picture
    with the larger weight are kept. Draws a sample, then the weight.

    Args:
        alpha: the sample's weight is drawn from the beta distribution (alpha, alpha): 1 is
            uniform, larger values are closer to a half.
        prob: in [0, 1], of mixing at all.
        pad_value: of a picture where the canvas is larger.
        seg_pad_value: of the semantic labels there.

    Source: Zhang et al., "Bag of freebies for training object detection neural networks", 2019,
    section 3.1.
    """

    def __init__(
        self,
        alpha: float = 32.0,
        *,
        prob: float = 1.0,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        super().__init__(prob)
        if not alpha > 0:
            raise ValueError(f"MixUp: alpha must be positive, got {alpha!r}")
        self.alpha = alpha
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def mix(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """The blend of the sample and another."""
        other = draw()
        weight = float(np.random.beta(self.alpha, self.alpha))
        sizes = [image_size(part) for part in (sample, other)]
        size = (max(height for height, _ in sizes), max(width for _, width in sizes))
        first, second = (
            on_canvas(part, size, 0, 0, self.pad_value, self.seg_pad_value)
            for part in (sample, other)
        )
        result = dict(first)
        blend = weight * first["image"].float() + (1 - weight) * second["image"].float()
        dtype = first["image"].dtype
        result["image"] = (blend if dtype.is_floating_point else blend.round()).to(dtype)
        if "sem_seg" in first and "sem_seg" in second and weight < 0.5:
            result["sem_seg"] = second["sem_seg"]
        join_targets(result, [first, second])
        if size != sizes[0]:
            forget_file_size(result, sample)
        return result
