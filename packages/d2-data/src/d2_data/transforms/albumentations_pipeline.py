"""Pipelines of albumentations as policies."""

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from d2_data.transforms.augmentation import Augmentation
from d2_data.transforms.flip import HFlipTransform, VFlipTransform
from d2_data.transforms.other_libraries import BoxesOnlyTransform, drawn_seed, way_back
from d2_data.transforms.polygon_clipping import moved_and_clipped
from d2_data.transforms.transform import Transform, TransformList

_logger = logging.getLogger(__name__)

# How often a point is moved towards its place in a warped image, and the miss in pixels that stays.
_STEPS, _MISS = 40, 0.25

# Key points of albumentations are indices of pixels in some transforms and continuous in others,
# as boxes always are. Points go the way of key points here, and that of boxes elsewhere: boxes of
# the first kind are off by up to a pixel, those of the second are drawn as pixels and measured.
_TURNING = ("Affine", "Rotate", "SafeRotate", "ShiftScaleRotate", "Perspective")
_DRAWING_BOXES = ("GridElasticDeform", "RandomGridShuffle")

# Base classes that leave every point where it is, though boxes may be dropped.
_KEEPING_POINTS = ("BaseDropout", "MaskDropout", "PixelDropout", "OverlayElements", "Morphological")


class AlbumentationsAugmentation(Augmentation):
    """The policy of a pipeline, or of one transform.

    It is drawn once, from NumPy's global generator, and what was drawn is applied to all data. If
    it drops boxes, they lose their extent, by which mappers drop the objects.

    Args:
        pipeline: stays as it is. Of ``bbox_params`` the limits count, not the format.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = copy.deepcopy(pipeline)
        params = _box_params(self._pipeline)
        self._filter = _BoxLimits(params)
        self._filters_each = params is None or params.check_each_transform
        self._leaves = list(_leaves(self._pipeline))
        for part in (self._pipeline, *_parts(self._pipeline)):
            # Boxes come in the library's own form, with their number: nothing is left to convert.
            part.processors = {} if hasattr(part, "transforms") else self._filter.processors()
            if hasattr(part, "check_each_transform"):
                part.check_each_transform = []
        if getattr(pipeline, "seed", None) is not None:
            _logger.warning(
                "The seed %s of the albumentations pipeline is not used: draws follow the run's",
                pipeline.seed,
            )

    def get_transform(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> TransformList:
        """What was drawn for an image of (H, W), (H, W, C) and, where it matters, what is on it."""
        data: dict[str, Any] = {"image": image}
        if boxes is not None:
            data["bboxes"] = _normalized(np.asarray(boxes), image.shape)
        if sem_seg is not None:
            data["mask"] = _library_labels(sem_seg)
        self._pipeline.set_random_seed(drawn_seed())
        with _recorded(self._leaves) as steps:
            self._pipeline(**data)
        found: list[Transform] = []
        size = (image.shape[0], image.shape[1])
        for step, after in steps:
            found.append(step)
            size = after
            if self._filters_each:
                found.append(self._filter.in_image(size))
        if not self._filters_each or not found:
            found.append(self._filter.in_image(size))
        return TransformList(found)

    def __repr__(self) -> str:
        return " ".join(repr(self._pipeline).split())


def _box_params(pipeline: Any) -> Any | None:
    processor = getattr(pipeline, "processors", {}).get("bboxes")
    return None if processor is None else processor.params


def _leaves(pipeline: Any) -> Iterator[Any]:
    children = getattr(pipeline, "transforms", None)
    if children is None:
        yield pipeline
    for child in children or ():
        yield from _leaves(child)


def _parts(pipeline: Any) -> Iterator[Any]:
    for child in getattr(pipeline, "transforms", None) or ():
        yield child
        yield from _parts(child)


@contextmanager
def _recorded(leaves: Sequence[Any]) -> Iterator[list[tuple[Transform, tuple[int, int]]]]:
    """Collect what transforms do while they run, and the size of the image after each."""
    steps: list[tuple[Transform, tuple[int, int]]] = []

    def recorder(leaf: Any) -> Any:
        def apply_with_params(params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
            step, image = _step(leaf, dict(params), data["image"].shape), data.pop("image")
            result: dict[str, Any] = type(leaf).apply_with_params(leaf, params, *args, **data)
            result["image"] = step.apply_image(image)
            if isinstance(step, AlbumentationsTransform):
                step.remember(image, result["image"])
            steps.append((step, result["image"].shape[:2]))
            return result

        return apply_with_params

    for leaf in leaves:
        leaf.__dict__["apply_with_params"] = recorder(leaf)
    try:
        yield steps
    finally:
        for leaf in leaves:
            leaf.__dict__.pop("apply_with_params", None)


def _step(leaf: Any, params: dict[str, Any], shape: tuple[int, ...]) -> Transform:
    name = type(leaf).__name__
    turned = params.get("group_element") if name == "D4" else None
    # Known as a mirror, so that keypoints exchange left and right.
    if name == "HorizontalFlip" or turned == "h":
        return HFlipTransform(shape[1])
    if name == "VerticalFlip" or turned == "v":
        return VFlipTransform(shape[0])
    return AlbumentationsTransform(leaf, params, (shape[0], shape[1]))


class AlbumentationsTransform(Transform):
    """What a transform of albumentations does, with parameters that were drawn.

    Args:
        leaf: the transform.
        params: what was drawn.
        size: (height, width) of the image before.
    """

    def __init__(self, leaf: Any, params: dict[str, Any], size: tuple[int, int]) -> None:
        self._leaf = leaf
        self._params = params
        self._seed = drawn_seed()
        self._seen: tuple[np.ndarray, np.ndarray] | None = None
        self._size_after: tuple[int, int] | None = None
        self.size = size
        bases = {base.__name__ for base in type(leaf).__mro__}
        self._moves = "DualTransform" in bases or hasattr(leaf, "apply_to_keypoints")
        self._turns = bool(bases & {*_TURNING})
        self._uses_indices = self._turns or bool(bases & {*_DRAWING_BOXES})
        self._keeps_points = not self._moves or bool(bases & {*_KEEPING_POINTS})

    def remember(self, before: np.ndarray, after: np.ndarray) -> None:
        """Keep what became of an image until it is asked for."""
        self._seen = before, after
        self._size_after = (after.shape[0], after.shape[1])

    def _run(self, **data: Any) -> Any:
        (key,) = data
        # Some, as noise, draw more than parameters.
        self._leaf.set_random_seed(self._seed)
        return type(self._leaf).apply_with_params(self._leaf, self._params, **data)[key]

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Transform (H, W) or (H, W, C)."""
        if self._seen is not None and _same_memory(self._seen[0], img):
            (_, result), self._seen = self._seen, None
            return result
        image: np.ndarray = self._run(image=np.ascontiguousarray(img))
        return image

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Transform an (H, W) map of labels, as albumentations does masks."""
        if not self._moves:
            return segmentation
        moved: np.ndarray = self._run(mask=_library_labels(segmentation))
        return moved.astype(segmentation.dtype)

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        """Transform (N, 4) XYXY as albumentations does; all zero where it drops a box."""
        boxes = np.asarray(box).reshape(-1, 4)
        if not self._moves or not len(boxes):
            return boxes
        if self._turns and getattr(self._leaf, "rotate_method", "largest_box") == "largest_box":
            return super().apply_box(boxes)
        moved = self._run(bboxes=_normalized(boxes, self.size))
        return _in_pixels(moved, self._after(), len(boxes)).astype(_floating(boxes))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Transform (N, 2) points; those that the transform leaves out come to lie outside."""
        points = np.asarray(coords)
        if self._keeps_points or not len(points):
            return points
        if "map_x" in self._params:
            maps = np.stack([self._params["map_x"], self._params["map_y"]], axis=-1)
            return _through_maps(points.astype(np.float64), maps).astype(_floating(points))
        if self._uses_indices:
            numbered = np.zeros((len(points), 6))
            numbered[:, :2], numbered[:, 5] = points - 0.5, np.arange(len(points))
            moved = np.asarray(self._run(keypoints=numbered))
            result = np.full((len(points), 2), -float(max(self.size)))
            result[moved[:, 5].astype(int)] = moved[:, :2] + 0.5
            return result.astype(_floating(points))
        moved = np.asarray(self._run(bboxes=_normalized(np.tile(points, 2), self.size)))
        height, width = self._after()
        result = np.empty((len(points), 2))
        result[moved[:, 4].astype(int)] = moved[:, :2] * [width, height]
        return result.astype(_floating(points))

    def apply_polygons(self, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Transform polygons, each (N, 2), and cut them at the edges of the result."""
        if self._keeps_points or not len(polygons):
            return list(polygons)
        if type(self._leaf).__name__ == "RandomGridShuffle":
            raise NotImplementedError(
                "RandomGridShuffle of albumentations tears outlines apart; give masks as run "
                "lengths, and use mask_format='bitmask' (INPUT.MASK_FORMAT = 'bitmask')"
            )
        return moved_and_clipped(
            polygons, lambda points: (self.apply_coords(points), self._after())
        )

    def _after(self) -> tuple[int, int]:
        """(height, width) of the image after."""
        if self._size_after is None:
            blank = self._run(image=np.zeros((*self.size, 3), np.uint8))
            self._size_after = (blank.shape[0], blank.shape[1])
        return self._size_after

    def inverse(self) -> Transform:
        """Nothing for a change of pixel values.

        Raises:
            NotImplementedError: otherwise, as albumentations knows no way back.
        """
        return way_back(f"{type(self._leaf).__name__} of albumentations", moves=self._moves)

    def __repr__(self) -> str:
        return f"AlbumentationsTransform({self._leaf!r})"


class _BoxLimits(BoxesOnlyTransform):
    """Cuts boxes at the edges of the image, and drops those beyond the limits of a pipeline."""

    def __init__(self, params: Any | None, size: tuple[int, int] = (1, 1)) -> None:
        self._params = params
        self.size = size

    def in_image(self, size: tuple[int, int]) -> "_BoxLimits":
        """The same for an image of (height, width)."""
        return _BoxLimits(self._params, size)

    def processors(self) -> dict[str, Any]:
        """What albumentations filters boxes by."""
        boxes: Any = import_module("albumentations.core.bbox_utils")
        params = boxes.BboxParams("pascal_voc") if self._params is None else self._params
        return {"bboxes": boxes.BboxProcessor(params)}

    def apply_box(self, box: np.ndarray) -> np.ndarray:
        boxes = np.asarray(box).reshape(-1, 4)
        if not len(boxes):
            return boxes
        shape = {"height": self.size[0], "width": self.size[1], "depth": 1}
        kept = self.processors()["bboxes"].filter(_normalized(boxes, self.size), shape)
        return _in_pixels(kept, self.size, len(boxes)).astype(_floating(boxes))


def _normalized(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(N, 5): corners as shares of the image, and the number of the box."""
    height, width = shape[:2]
    scaled = boxes.reshape(-1, 4).astype(np.float64) / [width, height, width, height]
    return np.column_stack([scaled, np.arange(len(scaled))])


def _in_pixels(normalized: Any, size: tuple[int, int], count: int) -> np.ndarray:
    """(count, 4) corners of the boxes that are left at their old places; zero elsewhere.

    One that fell apart becomes the box round its parts.
    """
    height, width = size
    left = np.asarray(normalized, dtype=np.float64).reshape(-1, 5)
    numbers = left[:, 4].astype(int)
    result = np.repeat([[np.inf, np.inf, -np.inf, -np.inf]], count, axis=0)
    np.minimum.at(result[:, :2], numbers, left[:, :2] * [width, height])
    np.maximum.at(result[:, 2:], numbers, left[:, 2:4] * [width, height])
    result[np.isinf(result).any(axis=1)] = 0
    return result


def _through_maps(points: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Where points come to lie in an image that is put together from another.

    Args:
        points: (N, 2) in the image before.
        maps: (H, W, 2), for each pixel of the result the index (x, y) in the image before.

    Returns:
        (N, 2); where the maps lead back to the point, or nearest to it.
    """
    height, width = maps.shape[:2]
    shift = maps - np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    targets = points - 0.5
    found = targets.copy()
    for _ in range(_STEPS):
        # Converges where a map does not stretch much.
        miss = targets - _interpolated(shift, found) - found
        found += miss / 2
    for number in np.flatnonzero(~(np.abs(miss).max(axis=1) < _MISS)):
        distances = np.square(maps - targets[number]).sum(axis=-1)
        row, column = np.unravel_index(int(distances.argmin()), distances.shape)
        found[number] = column, row
    return found + 0.5


def _interpolated(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, K) bilinear values of an (H, W, K) array at (N, 2) indices (x, y); the border goes on."""
    height, width = values.shape[:2]
    x, y = points.clip(0, [width - 1, height - 1]).T
    left, top = (v.astype(int).clip(0, n - 2) for v, n in ((x, width), (y, height)))
    to_right, down = (x - left)[:, None], (y - top)[:, None]
    upper = values[top, left] * (1 - to_right) + values[top, left + 1] * to_right
    lower = values[top + 1, left] * (1 - to_right) + values[top + 1, left + 1] * to_right
    result: np.ndarray = upper * (1 - down) + lower * down
    return result


def _floating(array: np.ndarray) -> np.dtype[Any]:
    floating = np.issubdtype(array.dtype, np.floating)
    return array.dtype if floating else np.dtype(np.float64)


def _library_labels(labels: np.ndarray) -> np.ndarray:
    """Labels in the smallest type that holds them: OpenCV moves few others."""
    if labels.dtype == bool:
        return np.ascontiguousarray(labels.astype(np.uint8))
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    for dtype in (np.uint8, np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.ascontiguousarray(labels.astype(dtype))
    return np.ascontiguousarray(labels.astype(np.float64))


def _same_memory(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays are the same view of the same memory, both being alive."""
    ours, theirs = first.__array_interface__, second.__array_interface__
    keys = ("data", "shape", "strides", "typestr")
    return all(ours[key] == theirs[key] for key in keys)
