"""`VideoVisualizer`: an instance keeps its colour from frame to frame."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .array_input import as_array, read_boxes
from .color_mode import ColorMode
from .colors import Color
from .drawing import Visualizer
from .mask_kinds import BinaryMask, read_masks
from .palette import palette_color
from .segment_layer import category_color
from .vis_image import VisImage

__all__ = ["VideoVisualizer"]

_MIN_IOU = 0.4
_FRAMES_REMEMBERED = 8


class _Track(NamedTuple):
    """An instance seen lately."""

    box: NDArray[np.float64]
    class_id: int
    color_index: int
    age: int
    """Frames since it was last seen."""


class VideoVisualizer:
    """Draws the predictions of successive frames, an instance in the same colour in each.

    Where predictions have a field ``ID`` (from a tracker) it decides; elsewhere an instance goes
    on where its box overlaps one of the same class in the last few frames best.
    """

    def __init__(self, metadata: Any, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        """
        Args:
            metadata: as for :class:`Visualizer`; may be None.
            instance_mode: ``IMAGE`` or ``IMAGE_BW`` colour every track differently,
                ``SEGMENTATION`` gives every class one colour.
        """
        self.metadata = metadata
        self._instance_mode = ColorMode(instance_mode)
        self._tracks: list[_Track] = []
        self._next_color = 0

    def draw_instance_predictions(self, frame: Any, predictions: Any) -> VisImage:
        """Draw the instances found in the next frame.

        Args:
            frame: (H, W, 3) RGB image, range 0..255.
            predictions: as for :meth:`Visualizer.draw_instance_predictions`.
        """
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        if not predictions.get_fields():
            return visualizer.output
        colors = self._colors(predictions, *visualizer.img.shape[:2])
        return visualizer.draw_coloured_predictions(predictions, colors)

    def draw_sem_seg(
        self, frame: Any, sem_seg: Any, area_threshold: float | None = None
    ) -> VisImage:
        """Draw the semantic segmentation of a frame; classes have fixed colours."""
        return Visualizer(frame, self.metadata).draw_sem_seg(sem_seg, area_threshold)

    def _colors(self, predictions: Any, height: int, width: int) -> list[Color] | None:
        classes = (
            as_array(predictions.pred_classes).astype(int).tolist()
            if predictions.has("pred_classes")
            else [0] * len(predictions)
        )
        if self._instance_mode is ColorMode.SEGMENTATION:
            known = getattr(self.metadata, "thing_colors", None)
            return [category_color(class_id, known) for class_id in classes]
        if predictions.has("ID"):
            return [palette_color(int(i)) for i in as_array(predictions.ID).tolist()]
        boxes = _instance_boxes(predictions, height, width)
        if boxes is None:
            return None
        return [palette_color(index) for index in self._follow(boxes, classes)]

    def _follow(self, boxes: NDArray[np.float64], classes: Sequence[int]) -> list[int]:
        """Colour numbers of the instances of a new frame; the tracks move on to it."""
        matches = _match(self._tracks, boxes, classes)
        numbers = []
        for index in range(len(boxes)):
            if index in matches:
                numbers.append(self._tracks[matches[index]].color_index)
            else:
                numbers.append(self._next_color)
                self._next_color += 1
        seen = set(matches.values())
        lost = [
            track._replace(age=track.age + 1)
            for index, track in enumerate(self._tracks)
            if index not in seen and track.age + 1 < _FRAMES_REMEMBERED
        ]
        current = [
            _Track(box, class_id, number, 0)
            for box, class_id, number in zip(boxes, classes, numbers, strict=True)
        ]
        self._tracks = current + lost
        return numbers


def _match(
    tracks: Sequence[_Track], boxes: NDArray[np.float64], classes: Sequence[int]
) -> dict[int, int]:
    """Pair instances with tracks of their class one to one, best overlap first."""
    if not tracks or not len(boxes):
        return {}
    overlaps = _box_iou(boxes, np.stack([track.box for track in tracks]))
    same_class = np.equal.outer(np.array(classes), [track.class_id for track in tracks])
    overlaps[~same_class] = 0
    matches: dict[int, int] = {}
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        index, track = (int(i) for i in np.unravel_index(flat, overlaps.shape))
        if overlaps[index, track] < _MIN_IOU:
            break
        if index not in matches and track not in matches.values():
            matches[index] = track
    return matches


def _instance_boxes(predictions: Any, height: int, width: int) -> NDArray[np.float64] | None:
    """(N, 4) boxes of the predictions, or of their masks; rotated ones as upright squares."""
    if predictions.has("pred_boxes"):
        boxes = read_boxes(predictions.pred_boxes)
        if boxes.shape[1] == 4:
            return boxes
        half = np.sqrt(np.abs(boxes[:, 2] * boxes[:, 3]))[:, None] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    for name in ("pred_masks", "pred_masks_rle"):
        if predictions.has(name):
            masks = read_masks(predictions.get(name), height, width)
            return np.array([_mask_box(mask) for mask in masks], np.float64).reshape(-1, 4)
    return None


def _mask_box(mask: Any) -> tuple[float, float, float, float]:
    if isinstance(mask, BinaryMask):
        rows, columns = mask.pixels.shape
        return mask.x0, mask.y0, mask.x0 + columns, mask.y0 + rows
    if not mask.polygons:
        return 0.0, 0.0, 0.0, 0.0
    corners = np.concatenate(mask.polygons)
    return (*corners.min(axis=0), *corners.max(axis=0))


def _box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
