"""Visualizers with what subclasses inherit from those of detectron2, who draw one by one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import d2_structures.visualizer as d2
from d2_data import Metadata
from d2_engine.compat.shims.colors import random_colors
from d2_engine.compat.shims.pictures import GenericMask
from d2_ops.host import box_iou, rle_iou
from d2_structures.visualizer import ColorMode, VisImage

_PRIMITIVES = ("draw_binary_mask", "draw_box", "draw_polygon", "draw_text")


class Visualizer(d2.Visualizer):
    """`d2_structures.visualizer.Visualizer`, with metadata that is never None.

    If a subclass overwrites ``draw_box``, ``draw_text``, ``draw_polygon`` or ``draw_binary_mask``,
    instances are drawn by calling them; otherwise all at once, which is faster.
    """

    def __init__(
        self,
        img_rgb: Any,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
    ) -> None:
        super().__init__(
            img_rgb, Metadata() if metadata is None else metadata, scale, instance_mode
        )
        self.cpu_device = torch.device("cpu")
        height, width = self.img.shape[:2]
        self._default_font_size = max(np.sqrt(height * width) // 90, 10 // scale)

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str | None] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[Any] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw instances; see the base class."""
        parts = {"boxes": boxes, "labels": labels, "masks": masks, "keypoints": keypoints}
        given = [part for part in parts.values() if part is not None]
        if not given or not self._draws_in_its_own_way() or not len(given[0]):
            return super().overlay_instances(**parts, assigned_colors=assigned_colors, alpha=alpha)
        colors = assigned_colors or random_colors(len(given[0]), rgb=True, maximum=1)
        self._draw_one_by_one(boxes, labels, masks, colors, alpha)
        return super().overlay_instances(keypoints=keypoints, assigned_colors=colors)

    def _draws_in_its_own_way(self) -> bool:
        return any(getattr(type(self), n) is not getattr(d2.Visualizer, n) for n in _PRIMITIVES)

    def _draw_one_by_one(
        self, boxes: Any, labels: Any, masks: Any, colors: Sequence[Any], alpha: float
    ) -> None:
        corners = None if boxes is None else self._convert_boxes(boxes)
        generic = None if masks is None else self._convert_masks(masks)
        for index, color in enumerate(colors):
            if corners is not None and corners.shape[1] == 5:
                text = None if labels is None else labels[index]
                self.draw_rotated_box_with_label(corners[index], edge_color=color, label=text)
                continue
            if corners is not None:
                self.draw_box(corners[index], edge_color=color)
            if generic is not None:
                for polygon in generic[index].polygons:
                    self.draw_polygon(polygon.reshape(-1, 2), color, alpha=alpha)
            if labels is not None and (corners is not None or generic is not None):
                box = corners[index] if corners is not None else (generic or [])[index].bbox()
                self.draw_text(
                    labels[index] or "",
                    (float(box[0]), float(box[1])),
                    color=self._change_color_brightness(color, 0.7),
                    horizontal_alignment="left",
                )

    def _convert_boxes(self, boxes: Any) -> Any:
        """(N, 4) or (N, 5) array of boxes of any kind."""
        tensor = getattr(boxes, "tensor", boxes)
        return (
            tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.array(tensor)
        )

    def _convert_masks(self, masks_or_polygons: Any) -> list[Any]:
        """A `GenericMask` of each mask."""
        masks = getattr(masks_or_polygons, "polygons", masks_or_polygons)
        masks = getattr(masks, "tensor", masks)
        if isinstance(masks, torch.Tensor):
            masks = masks.detach().cpu().numpy()
        height, width = self.img.shape[:2]
        return [
            mask if isinstance(mask, GenericMask) else GenericMask(mask, height, width)
            for mask in masks
        ]

    def _create_grayscale_image(self, mask: Any = None) -> Any:
        """The image in grey, except where a mask is."""
        grey = np.repeat(self.img.astype("f4").mean(axis=2, keepdims=True), 3, axis=2)
        if mask is not None:
            grey[mask] = self.img[mask]
        return grey

    def _change_color_brightness(self, color: Any, brightness_factor: float) -> tuple[float, ...]:
        """A colour mixed with white (factor in 0..1) or with black (-1..0)."""
        target = 1.0 if brightness_factor > 0 else 0.0
        share = abs(brightness_factor)
        parts = [float(part) for part in tuple(color)[:3]]
        return tuple(part + (target - part) * share for part in parts)


class VideoVisualizer(d2.VideoVisualizer):
    """`d2_structures.visualizer.VideoVisualizer`, whose way to colours subclasses can call."""

    def __init__(self, metadata: Any, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        super().__init__(metadata, instance_mode)
        self._max_num_instances = self.metadata.get("max_num_instances", 74) if metadata else 74
        self._old_instances: list[Any] = []
        self._assigned_colors: dict[int, Any] = {}
        self._color_pool = random_colors(self._max_num_instances, rgb=True, maximum=1)

    def _assign_colors(self, instances: list[Any]) -> list[Any]:
        """Colours of detected objects, those of the objects of the last frames that they overlap.

        Args:
            instances: `_DetectedInstance`; those without a colour get one.
        """
        taken: set[int] = set()
        for instance in instances:
            overlaps = [
                0.0 if index in taken or old.label != instance.label else _iou(old, instance)
                for index, old in enumerate(self._old_instances)
            ]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best >= 0 and overlaps[best] > _threshold(instance):
                taken.add(best)
                if instance.color is None:
                    instance.color = self._old_instances[best].color
        for index, old in enumerate(self._old_instances):
            if index not in taken:
                old.ttl -= 1
        for instance in instances:
            if instance.color is None:
                instance.color = random_colors(1, rgb=True, maximum=1)[0]
        kept = [old for i, old in enumerate(self._old_instances) if i not in taken and old.ttl > 0]
        self._old_instances = instances[:] + kept
        return [instance.color for instance in instances]

    def _assign_colors_by_id(self, instances: Any) -> list[Any]:
        """Colours of `Instances` with the field ``ID``: the same for the same one."""
        numbers = [int(number) for number in instances.ID]
        for gone in set(self._assigned_colors) - set(numbers):
            self._color_pool.append(self._assigned_colors.pop(gone))
        for number in numbers:
            if number not in self._assigned_colors:
                self._assigned_colors[number] = self._color_pool.pop(0)
        return [self._assigned_colors[number] for number in numbers]


def _iou(first: Any, second: Any) -> float:
    """Of boxes where both have one, else of masks."""
    if first.bbox is not None and second.bbox is not None:
        boxes = [np.asarray(instance.bbox, np.float64) for instance in (first, second)]
        pair = [np.concatenate([b[:2], b[2:] - b[:2]])[None] for b in boxes]
        return float(box_iou(pair[0], pair[1])[0, 0])
    return float(rle_iou([first.mask_rle], [second.mask_rle])[0, 0])


def _threshold(instance: Any) -> float:
    return 0.6 if instance.bbox is not None else 0.5
