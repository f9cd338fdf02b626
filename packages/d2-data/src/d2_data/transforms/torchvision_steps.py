"""Transforms of ``torchvision.transforms.v2`` whose parameters were drawn."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from d2_data.transforms.other_libraries import draws_of, way_back
from d2_data.transforms.polygon_clipping import moved_and_clipped
from d2_data.transforms.transform import Transform


class TorchvisionTransform(Transform):
    """What a transform of torchvision does, with parameters that were drawn.

    Args:
        run: takes a ``TVTensor``, returns the transformed one.
        name: of the transform.
        size: (height, width) of the image before.
        moves: whether anything but pixel values may change.
    """

    def __init__(
        self, run: Callable[[Any], Any], name: str, size: tuple[int, int], *, moves: bool
    ) -> None:
        self._run = run
        self.name = name
        self.size = size
        self.moves = moves

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Transform (H, W), (H, W, C) or (N, H, W, C)."""
        moved = self._run(wrapped_image(img))
        return _image_array(moved, img.ndim, self.name)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Transform an (H, W) map of labels, as torchvision does masks."""
        if not self.moves:
            return segmentation
        dtype = segmentation.dtype
        # torch has few operations on the others.
        kept = dtype if dtype in (np.uint8, np.int32, np.int64) else np.dtype(np.int32)
        mask = _tv_tensors().Mask(_tensor(segmentation.astype(kept, copy=False)))
        moved: np.ndarray = self._moved(mask, "segmentations").numpy()
        return moved.astype(dtype, copy=False)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Transform (N, 2) points, as torchvision does boxes without extent.

        Its own key points are indices of pixels for some transforms and continuous for others.
        """
        return self._moved_points(coords)[0]

    def apply_polygons(self, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Transform polygons, each (N, 2), and cut them at the edges of the result."""
        if not self.moves or not len(polygons):
            return list(polygons)
        return moved_and_clipped(polygons, self._moved_points)

    def _moved_points(self, coords: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Points, and (height, width) of the canvas that they come to lie on."""
        given = np.asarray(coords)
        points = given if np.issubdtype(given.dtype, np.floating) else given.astype(np.float64)
        if not self.moves:
            return points, self.size
        # One at least, so that the canvas is told.
        boxes = np.concatenate([np.tile(points.reshape(-1, 2), 2), np.zeros((1, 4), points.dtype)])
        moved = self._moved(wrapped_boxes(boxes, self.size), "points")
        canvas = moved.canvas_size
        result: np.ndarray = moved.as_subclass(torch.Tensor)[:-1, :2].numpy()
        return result.astype(points.dtype, copy=False), (int(canvas[0]), int(canvas[1]))

    def _moved(self, data: Any, what: str) -> Any:
        try:
            return self._run(data)
        except (TypeError, NotImplementedError) as error:
            raise NotImplementedError(
                f"{self.name} of torchvision cannot move {what} with the image: {error}"
            ) from error

    def inverse(self) -> Transform:
        """Nothing for a change of pixel values.

        Raises:
            NotImplementedError: otherwise, as torchvision knows no way back.
        """
        return way_back(f"{self.name} of torchvision", moves=self.moves)

    def __repr__(self) -> str:
        return f"TorchvisionTransform({self.name})"


class Replayed:
    """A transform whose parameters are known."""

    def __init__(self, transform: Any, seed: int) -> None:
        self._transform = transform
        self._seed = seed

    def __call__(self, data: Any) -> Any:
        # Some, as noise, draw more than parameters.
        with draws_of(self._seed):
            return self._transform(data)


class RunAnew:
    """A transform that keeps to itself what it draws: it draws the same again beside an image."""

    def __init__(self, transform: Any, size: tuple[int, int], seed: int) -> None:
        self._transform = transform
        self._size = size
        self._seed = seed

    def __call__(self, data: Any) -> Any:
        tv_tensors = _tv_tensors()
        with draws_of(self._seed):
            if isinstance(data, tv_tensors.Image):
                return self._transform(data)
            blank = wrapped_image(np.zeros((*self._size, 3), np.uint8))
            return self._transform(blank, data)[1]


def _tv_tensors() -> Any:
    return import_module("torchvision.tv_tensors")


def _tensor(array: np.ndarray) -> torch.Tensor:
    contiguous = np.ascontiguousarray(array)
    return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())


def wrapped_image(img: np.ndarray) -> Any:
    """(H, W), (H, W, C) or (N, H, W, C) as torchvision's ``Image`` of (…, C, H, W)."""
    tv_tensors = _tv_tensors()
    planes = img[..., None] if img.ndim == 2 else img
    return tv_tensors.Image(_tensor(np.moveaxis(planes, -1, -3)))


def wrapped_boxes(boxes: np.ndarray, size: tuple[int, int]) -> Any:
    """(N, 4) XYXY boxes in an image of (height, width), all in pixels, as torchvision's."""
    tv_tensors = _tv_tensors()
    floating = boxes if np.issubdtype(boxes.dtype, np.floating) else boxes.astype(np.float32)
    # Boxes are cut at the edges at the very end: what leaves the image may come back.
    return tv_tensors.BoundingBoxes(
        _tensor(floating.reshape(-1, 4)), format="XYXY", canvas_size=size, clamping_mode=None
    )


def _image_array(image: Any, dimensions: int, name: str) -> np.ndarray:
    if not isinstance(image, torch.Tensor):
        try:
            image = torch.from_numpy(np.array(image))
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} of torchvision must return one image, got {type(image).__name__}"
            ) from None
        image = image[None] if image.ndim == 2 else image.movedim(-1, -3)
    pixels: np.ndarray = np.moveaxis(image.as_subclass(torch.Tensor).numpy(), -3, -1)
    return pixels[..., 0] if dimensions == 2 and pixels.shape[-1] == 1 else pixels
