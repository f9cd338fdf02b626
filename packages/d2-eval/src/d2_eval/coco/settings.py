"""What COCO's metrics are computed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import attrs
import numpy as np
from pycocotools.cocoeval import Params

Task = Literal["bbox", "rotated_bbox", "segm", "boundary", "keypoints"]
"""What is compared: boxes, turned boxes, masks, masks with their outlines, or keypoints."""

TASKS: tuple[Task, ...] = ("bbox", "rotated_bbox", "segm", "boundary", "keypoints")

FIELDS: Mapping[Task, str] = MappingProxyType(
    {
        "bbox": "bbox",
        "rotated_bbox": "bbox",
        "segm": "segmentation",
        "boundary": "segmentation",
        "keypoints": "keypoints",
    }
)
"""What of a result each task compares."""

PERSON_SIGMAS = tuple(
    tenths / 10 for tenths in (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72)
) + tuple(tenths / 10 for tenths in (0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89))
"""Tolerances of the keypoints of COCO's persons."""

_AREAS = {
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}


def checked_tasks(
    tasks: Sequence[Task] | Task | None, known: Sequence[Task] = TASKS
) -> tuple[Task, ...] | None:
    """Return the tasks as a tuple, None where they are to be inferred.

    Args:
        tasks: one, several, or None.
        known: those that there are.

    Raises:
        ValueError: if one is not known, or there is none at all.
    """
    if tasks is None:
        return None
    given: tuple[Task, ...] = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    unknown = [task for task in given if task not in known]
    if unknown or not given:
        raise ValueError(f"tasks are some of {list(known)}, got {list(given)}")
    return given


@attrs.frozen
class CocoSettings:
    """Thresholds, sizes and limits of one task.

    Attributes:
        task: one of :data:`TASKS`.
        iou_thresholds: overlaps from which a detection is right, ascending within (0, 1].
        recall_thresholds: at which precision is read, ascending within [0, 1].
        areas: names of the ranges of areas.
        area_ranges: of each name the least and the largest area in square pixels, both included.
        max_detections: ascending limits on the detections of a class in an image.
        keypoint_sigmas: the tolerance of each keypoint; empty unless ``task`` is ``"keypoints"``.
        boundary_ratio: for ``"boundary"``, how wide outlines are as a share of the image's
            diagonal.
    """

    task: Task = attrs.field(validator=attrs.validators.in_(TASKS))
    iou_thresholds: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
    recall_thresholds: tuple[float, ...] = tuple(np.linspace(0.0, 1.0, 101).tolist())
    areas: tuple[str, ...] = tuple(_AREAS)
    area_ranges: tuple[tuple[float, float], ...] = tuple(_AREAS.values())
    max_detections: tuple[int, ...] = (1, 10, 100)
    keypoint_sigmas: tuple[float, ...] = ()
    boundary_ratio: float = 0.02

    def __attrs_post_init__(self) -> None:
        limits: tuple[tuple[str, tuple[float, ...], float, float], ...] = (
            ("iou_thresholds", self.iou_thresholds, 0, 1),
            ("recall_thresholds", self.recall_thresholds, 0, 1),
            ("max_detections", self.max_detections, 1, float("inf")),
        )
        for name, values, low, high in limits:
            ascend = values and list(values) == sorted(values)
            if not ascend or values[0] < low or values[-1] > high:
                raise ValueError(
                    f"{name} are ascending numbers from {low} to {high}, got {list(values)}"
                )
        if len(self.areas) != len(self.area_ranges) or "all" not in self.areas:
            raise ValueError(
                f"areas name the {len(self.area_ranges)} area_ranges, 'all' among them; got "
                f"{list(self.areas)}"
            )

    @classmethod
    def standard(
        cls,
        task: Task,
        *,
        max_detections: int | None = None,
        keypoint_sigmas: Sequence[float] = (),
    ) -> CocoSettings:
        """Return COCO's own settings.

        Args:
            task: one of :data:`TASKS`.
            max_detections: most detections of a class in an image that count, by default 100 (20
                for keypoints).
            keypoint_sigmas: for keypoints; empty takes those of COCO's persons.

        Raises:
            ValueError: for another task, or a limit below 1.
        """
        if task not in TASKS:
            raise ValueError(f"task is one of {TASKS}, got {task!r}")
        if max_detections is not None and max_detections < 1:
            raise ValueError(f"max_detections is at least 1, got {max_detections}")
        if task == "keypoints":
            names = [name for name in _AREAS if name != "small"]
            return cls(
                task,
                areas=tuple(names),
                area_ranges=tuple(_AREAS[name] for name in names),
                max_detections=(max_detections or 20,),
                keypoint_sigmas=tuple(map(float, keypoint_sigmas)) or PERSON_SIGMAS,
            )
        limits = {min(limit, max_detections or 100) for limit in (1, 10, max_detections or 100)}
        return cls(task, max_detections=tuple(sorted(limits)))

    def official(self, image_ids: Sequence[Any], category_ids: Sequence[Any]) -> Params:
        """Return the same as pycocotools' ``Params``.

        Args:
            image_ids: the images that count.
            category_ids: the categories.
        """
        parameters = Params("keypoints" if self.task == "keypoints" else "bbox")
        parameters.iouType = {"boundary": "segm", "rotated_bbox": "bbox"}.get(self.task, self.task)
        parameters.imgIds = list(image_ids)
        parameters.catIds = list(category_ids)
        parameters.iouThrs = np.array(self.iou_thresholds)
        parameters.recThrs = np.array(self.recall_thresholds)
        parameters.areaRng = [list(bounds) for bounds in self.area_ranges]
        parameters.areaRngLbl = list(self.areas)
        parameters.maxDets = list(self.max_detections)
        if self.keypoint_sigmas:
            parameters.kpt_oks_sigmas = np.array(self.keypoint_sigmas)
        return parameters
