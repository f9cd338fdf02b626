"""Choosing a window."""

from collections.abc import Sequence

import numpy as np

from d2_data.transforms.augmentation import Augmentation, decides_by_shape
from d2_data.transforms.transform import Transform, TransformList
from d2_data.transforms.windows import CropTransform, PadTransform

__all__ = ["FixedSizeCrop", "RandomCrop", "RandomCrop_CategoryAreaConstraint"]

_CROP_TYPES = ("relative", "relative_range", "absolute", "absolute_range")


class RandomCrop(Augmentation):
    """Cut a random window out of an image.

    Draws the window's size (only for the ``_range`` types: height, then width), then
    its top, then its left.

    Args:
        crop_type: what ``crop_size`` means:

            * "relative": the window is (H * crop_size[0], W * crop_size[1]), both in (0, 1];
            * "relative_range": the two factors are drawn uniformly from
              [crop_size[0], 1] and [crop_size[1], 1];
            * "absolute": the window is crop_size, in pixels, or the image where smaller;
            * "absolute_range": height is drawn from [crop_size[0], min(H, crop_size[1])]
              and width from [crop_size[0], min(W, crop_size[1])].
        crop_size: two numbers.
    """

    def __init__(self, crop_type: str, crop_size: Sequence[float]) -> None:
        if crop_type not in _CROP_TYPES:
            raise ValueError(f"RandomCrop: crop_type is one of {_CROP_TYPES}, got {crop_type!r}")
        if len(crop_size) != 2:
            raise ValueError(f"RandomCrop: crop_size is two numbers, got {crop_size!r}")
        if crop_type.startswith("relative") and not all(0 < c <= 1 for c in crop_size):
            raise ValueError(f"RandomCrop: relative crop_size lies in (0, 1], got {crop_size!r}")
        if crop_type == "absolute_range" and crop_size[0] > crop_size[1]:
            raise ValueError(f"RandomCrop: crop_size must be (min, max), got {crop_size!r}")
        self.crop_type = crop_type
        self.crop_size = crop_size

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> Transform:
        """The crop to a drawn window."""
        h, w = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((h, w))
        top = int(np.random.randint(h - crop_h + 1))
        left = int(np.random.randint(w - crop_w + 1))
        return CropTransform(left, top, crop_w, crop_h, orig_w=w, orig_h=h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a window, in pixels, for an image of (height, width)."""
        h, w = image_size
        if self.crop_type == "absolute":
            return min(int(self.crop_size[0]), h), min(int(self.crop_size[1]), w)
        if self.crop_type == "absolute_range":
            low, high = int(self.crop_size[0]), int(self.crop_size[1])
            crop_h = np.random.randint(min(h, low), min(h, high) + 1)
            crop_w = np.random.randint(min(w, low), min(w, high) + 1)
            return int(crop_h), int(crop_w)
        factors: np.ndarray = np.asarray(self.crop_size, dtype=np.float32)
        if self.crop_type == "relative_range":
            factors = factors + np.random.rand(2) * (1 - factors)
        return max(int(h * factors[0] + 0.5), 1), max(int(w * factors[1] + 0.5), 1)


class RandomCrop_CategoryAreaConstraint(Augmentation):
    """Cut a random window in which no category covers too much.

    At most ten windows are tried, each with :class:`RandomCrop`'s draws; the last one
    is taken if none will do.

    Args:
        crop_type, crop_size: as in :class:`RandomCrop`.
        single_category_max_area: the largest share of the window's labelled pixels that
            one category may cover; 1 switches the constraint off.
        ignored_category: label that does not count, e.g. the one ignored in training.
    """

    attempts = 10

    def __init__(
        self,
        crop_type: str,
        crop_size: Sequence[float],
        single_category_max_area: float = 1.0,
        ignored_category: int | None = None,
    ) -> None:
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self.crop_type = crop_type
        self.crop_size = crop_size
        self.single_category_max_area = single_category_max_area
        self.ignored_category = ignored_category

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """The crop to a drawn window; ``sem_seg`` is (H, W) labels."""
        for _ in range(1 if self.single_category_max_area >= 1 else self.attempts):
            crop = self.crop_aug.get_transform(image)
            labels, areas = np.unique(crop.apply_segmentation(sem_seg), return_counts=True)
            if self.ignored_category is not None:
                areas = areas[labels != self.ignored_category]
            if len(areas) > 1 and areas.max() < areas.sum() * self.single_category_max_area:
                break
        return crop


class FixedSizeCrop(Augmentation):
    """Crop at random where the image is larger than a size, pad where it is smaller.

    Padding goes to the right and to the bottom. Draws one uniform number, which places
    the window in both directions.

    Args:
        crop_size: (height, width) of the result in pixels.
        pad: whether to pad; otherwise smaller images stay smaller.
        pad_value: of padded pixels in images.
        seg_pad_value: of padded pixels in segmentations.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        if len(crop_size) != 2:
            raise ValueError(f"FixedSizeCrop: crop_size is (height, width), got {crop_size!r}")
        self.crop_size = crop_size
        self.pad = pad
        self.pad_value = pad_value
        self.seg_pad_value = seg_pad_value

    @decides_by_shape
    def get_transform(self, image: np.ndarray) -> TransformList:
        """A crop, followed by a pad where one is wanted."""
        h, w = image.shape[:2]
        crop_h, crop_w = self.crop_size
        place = np.random.uniform(0.0, 1.0)
        top, left = (round(max(excess, 0) * place) for excess in (h - crop_h, w - crop_w))
        kept_h, kept_w = min(h, crop_h), min(w, crop_w)
        crop = CropTransform(left, top, kept_w, kept_h, orig_w=w, orig_h=h)
        if not self.pad:
            return TransformList([crop])
        pad = PadTransform(
            0,
            0,
            crop_w - kept_w,
            crop_h - kept_h,
            orig_w=kept_w,
            orig_h=kept_h,
            pad_value=self.pad_value,
            seg_pad_value=self.seg_pad_value,
        )
        return TransformList([crop, pad])
