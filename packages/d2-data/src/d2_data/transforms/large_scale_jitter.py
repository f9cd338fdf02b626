"""Scaling by a wide range into a canvas of one size."""

import numpy as np

from d2_data.transforms.augmentation import Augmentation, decides_by_shape
from d2_data.transforms.crop import FixedSizeCrop
from d2_data.transforms.resampling import BILINEAR
from d2_data.transforms.resize import ResizeScale
from d2_data.transforms.transform import TransformList

__all__ = ["LargeScaleJitter"]


class LargeScaleJitter(Augmentation):
    """Scale by a wide range, then crop or pad to one size: :class:`ResizeScale` and
    :class:`FixedSizeCrop` in turn, with the draws of both.

    Args:
        size: (height, width) of the result in pixels.
        min_scale, max_scale: interval of the scale; at 1 the whole image just fits.
        pad_value: of padded pixels in images.
        seg_pad_value: of padded pixels in segmentations.
        interp: Pillow resampling method.

    Source: Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance
    segmentation", 2021, section 3.
    """

    def __init__(
        self,
        size: tuple[int, int],
        min_scale: float = 0.1,
        max_scale: float = 2.0,
        *,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
        interp: int = BILINEAR,
    ) -> None:
        if not 0 < min_scale <= max_scale:
            raise ValueError(
                "LargeScaleJitter: wanted 0 < min_scale <= max_scale, got "
                f"{min_scale!r} and {max_scale!r}"
            )
        self.size = size
        self.min_scale, self.max_scale = min_scale, max_scale
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value
        self.interp = interp
        self._resize = ResizeScale(min_scale, max_scale, *size, interp=interp)
        self._crop = FixedSizeCrop(size, pad_value=pad_value, seg_pad_value=seg_pad_value)

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> TransformList:
        """A resize, a crop and a pad."""
        resize = self._resize.get_transform(image)
        # Only the size of the resized image decides where to crop.
        resized = np.broadcast_to(np.uint8(0), (resize.new_h, resize.new_w))
        return TransformList([resize, self._crop.get_transform(resized)])
