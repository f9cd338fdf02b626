"""One image twice: its annotations, and what a model found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from d2_data.detection_utils import read_image
from d2_eval.report.class_colors import Rgb
from d2_structures import BoxMode, Instances

_MASK_OPACITY = 0.45
_SMALLEST_LABELLED = 14.0


class Objects(NamedTuple):
    """What there is to draw of N objects; None where nothing of the kind is known."""

    classes: Sequence[int]
    labels: Sequence[str]
    boxes: np.ndarray | None = None
    """(N, 4) XYXY or (N, 5) rotated, pixels of the image."""
    masks: Any = None
    keypoints: Any = None


class PicturePair(NamedTuple):
    """An image with its annotations and predictions."""

    file_name: str
    image_rgb: np.ndarray
    truth: Objects
    found: Objects

    @property
    def aspect(self) -> float:
        """Width by height."""
        height, width = self.image_rgb.shape[:2]
        return float(width / height)

    @property
    def classes(self) -> set[int]:
        """All that occur."""
        return {*self.truth.classes, *self.found.classes}


def read_pair(
    record: Mapping[str, Any], instances: Instances, score_threshold: float
) -> PicturePair:
    """Read an image, its annotations, and the predictions that are good enough.

    Raises:
        ValueError: if the predictions are for an image of another size.
    """
    image = read_image(record["file_name"], format="RGB")
    if tuple(instances.image_size) != image.shape[:2]:
        raise ValueError(
            f"the predictions for {record['file_name']} are for (height, width) "
            f"{tuple(instances.image_size)}, the image has {image.shape[:2]}"
        )
    confident = instances.to("cpu")
    confident = confident[confident.scores >= score_threshold]
    truth = annotated_objects(record.get("annotations", ()))
    return PicturePair(str(record["file_name"]), image, truth, _predicted(confident))


def draw_objects(
    image_rgb: np.ndarray,
    objects: Objects,
    colors: Mapping[int, Rgb],
    size: tuple[int, int],
    metadata: Any,
) -> np.ndarray:
    """Draw objects over their image in the colours of their classes.

    Args:
        image_rgb: (H, W, 3) uint8.
        objects: in pixels of the image.
        colors: of every class that occurs.
        size: (height, width) of the picture to draw, of the image's aspect but for rounding.
        metadata: for the names and connections of keypoints.

    Returns:
        (height, width, 3) uint8.
    """
    from PIL import Image

    from d2_structures.visualizer import Visualizer

    scale = max(size[0] / image_rgb.shape[0], size[1] / image_rgb.shape[1])
    visualizer = Visualizer(image_rgb, metadata, scale)
    drawn = visualizer.overlay_instances(
        boxes=objects.boxes,
        labels=_labels_with_room(objects, scale),
        masks=objects.masks,
        keypoints=objects.keypoints,
        assigned_colors=[tuple(part / 255 for part in colors[c]) for c in objects.classes],
        alpha=_MASK_OPACITY,
    ).get_image()
    if drawn.shape[:2] != size:
        drawn = np.asarray(Image.fromarray(drawn).resize((size[1], size[0])))
    return drawn


def _labels_with_room(objects: Objects, scale: float) -> list[str | None]:
    """The labels of the objects that are not smaller than a label."""
    if objects.boxes is None:
        return list(objects.labels)
    sizes = objects.boxes[:, 2:4]
    if objects.boxes.shape[1] == 4:
        sizes = sizes - objects.boxes[:, :2]
    smallest_sides = scale * sizes.min(axis=1, initial=np.inf)
    return [
        label if side >= _SMALLEST_LABELLED else None
        for label, side in zip(objects.labels, smallest_sides.tolist(), strict=True)
    ]


def annotated_objects(annotations: Sequence[Mapping[str, Any]]) -> Objects:
    """What the annotations of an image, in the standard dataset format, say there is."""
    masks = keypoints = None
    if any("segmentation" in annotation for annotation in annotations):
        masks = [annotation.get("segmentation", []) for annotation in annotations]
    longest = max((len(a.get("keypoints", ())) for a in annotations), default=0)
    if longest:
        keypoints = np.array(
            [a.get("keypoints") or [0.0] * longest for a in annotations], dtype=np.float64
        ).reshape(len(annotations), -1, 3)
    return Objects(
        classes=[int(annotation.get("category_id", 0)) for annotation in annotations],
        labels=["crowd" if annotation.get("iscrowd") else "" for annotation in annotations],
        boxes=_annotated_boxes(annotations),
        masks=masks,
        keypoints=keypoints,
    )


def _annotated_boxes(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    if not annotations or any("bbox" not in annotation for annotation in annotations):
        return None
    modes = [BoxMode(a.get("bbox_mode", BoxMode.XYXY_ABS)) for a in annotations]
    wanted = BoxMode.XYWHA_ABS if BoxMode.XYWHA_ABS in modes else BoxMode.XYXY_ABS
    return np.array(
        [
            BoxMode.convert([float(value) for value in annotation["bbox"]], mode, wanted)
            for annotation, mode in zip(annotations, modes, strict=True)
        ]
    )


def _predicted(instances: Instances) -> Objects:
    def field(*names: str) -> Any:
        return next((instances.get(name) for name in names if instances.has(name)), None)

    boxes = field("pred_boxes")
    return Objects(
        classes=instances.pred_classes.tolist(),
        labels=[f"{100 * score:.0f}" for score in instances.scores.tolist()],
        boxes=None if boxes is None else boxes.tensor.numpy().astype(np.float64),
        masks=field("pred_masks", "pred_masks_rle"),
        keypoints=field("pred_keypoints"),
    )
