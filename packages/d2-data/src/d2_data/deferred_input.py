"""Data to augment whose image is read once it is known what is to become of it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeGuard

import numpy as np

from d2_data.image_reading import ImageSource
from d2_data.transforms import (
    AugInput,
    HFlipTransform,
    NoOpTransform,
    ResizeTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from d2_data.transforms.resampling import NEAREST

__all__ = ["DeferredInput", "stand_in"]

_FLIPS = (HFlipTransform, VFlipTransform)


@lru_cache(maxsize=64)
def stand_in(shape: tuple[int, ...]) -> np.ndarray:
    """An array of a shape that takes no memory."""
    return np.broadcast_to(np.uint8(0), shape)


class DeferredInput(AugInput):
    """An :class:`AugInput` of an image file.

    Flips and changes of size wait until a policy, or whoever else, looks at the image. Then it is
    read, and they are done. Any other transform is applied to pixels at once, whatever it does.
    The result is to the bit that of an ``AugInput`` of the pixels, unless decoding is reduced.

    Args:
        source: the file.
        sem_seg: (H, W) integer labels, or None.
        boxes: (N, 4) float XYXY in pixels, or None.
        reduced_decoding: whether a JPEG that is to be shrunk is decoded at a smaller size.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        sem_seg: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        reduced_decoding: bool = False,
    ) -> None:
        self.sem_seg = sem_seg
        self.boxes = boxes
        self._source = source
        self._reduced_decoding = reduced_decoding
        self._pixels: np.ndarray | None = None
        self._waiting: list[Transform] = []
        self._shape = source.shape

    @property
    def image_stand_in(self) -> np.ndarray:
        """An array of the image's shape for those who look at nothing else; takes no memory."""
        return stand_in(self._shape)

    @property
    def image(self) -> np.ndarray:
        """The image, (H, W) or (H, W, C), as far as it was transformed."""
        steps, self._waiting = self._waiting, []
        if self._pixels is None:
            self._pixels, steps = self._read(steps)
        for step in steps:
            self._pixels = step.apply_image(self._pixels)
        return self._pixels

    @image.setter
    def image(self, pixels: np.ndarray) -> None:
        self._pixels, self._waiting, self._shape = pixels, [], pixels.shape

    def transform(self, tfm: Transform) -> None:
        """Apply ``tfm`` to all that is present; the attributes hold the results."""
        for step in TransformList([tfm]).transforms:
            self._transform_image(step)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def _transform_image(self, step: Transform) -> None:
        # Subclasses may do anything, and a resize for another size is an error: both see pixels.
        if type(step) is NoOpTransform:
            return
        if type(step) in _FLIPS:
            self._waiting.append(step)
        elif _is_resize(step) and (step.h, step.w) == self._shape[:2]:
            self._waiting.append(step)
            self._shape = (step.new_h, step.new_w, *self._shape[2:])
        else:
            self.image = step.apply_image(self.image)

    def _read(self, steps: Sequence[Transform]) -> tuple[np.ndarray, list[Transform]]:
        """The pixels of the file, maybe at a reduced size, and the steps that are to follow."""
        following = list(steps)
        place = next((i for i, step in enumerate(following) if _shrinks(step)), None)
        # Nothing but flips may come before, which fit any size.
        if not self._reduced_decoding or place is None or any(map(_is_resize, following[:place])):
            return self._source.read(), following
        resize = following[place]
        assert isinstance(resize, ResizeTransform)
        pixels = self._source.read(_new_size(resize))
        height, width = pixels.shape[:2]
        following[place] = ResizeTransform(height, width, *_new_size(resize), resize.interp)
        return pixels, following


def _is_resize(step: Transform) -> TypeGuard[ResizeTransform]:
    return type(step) is ResizeTransform


def _new_size(resize: ResizeTransform) -> tuple[int, int]:
    return resize.new_h, resize.new_w


def _shrinks(step: Transform) -> bool:
    """Whether a step filters an image down, and enlarges it in no direction."""
    return (
        _is_resize(step)
        and step.new_h <= step.h
        and step.new_w <= step.w
        and step.interp != NEAREST
    )
