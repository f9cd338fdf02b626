"""The targets of all objects of an image at once."""

from collections.abc import Sequence
from itertools import accumulate, chain, islice, pairwise
from typing import Any

import numpy as np
import torch

from d2_data.instance_annotations import moved_keypoints, moved_mask
from d2_data.transforms import Transform, TransformList
from d2_data.transforms.index_maps import index_maps
from d2_ops.host import polygons_to_bitmasks, rle_bounding_boxes, rle_decode
from d2_structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
)

ImageSize = tuple[int, int]


def instance_targets(
    annotations: Sequence[dict[str, Any]],
    transforms: Transform,
    image_size: ImageSize,
    *,
    mask_format: str,
    rotated_boxes: bool = False,
    keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
) -> Instances:
    """Move the annotations of an image with it, and batch them.

    The result is that of :func:`~d2_data.detection_utils.transform_instance_annotations` for each
    and :func:`~d2_data.detection_utils.annotations_to_instances` for all, several times as fast:
    transforms are asked once for all objects, and masks become pixels of the final size only.

    Args:
        annotations: in their one form (see :mod:`d2_data.annotations`); all or none have a
            segmentation, and keypoints. Boxes may be rotated. They stay as they are.
        transforms: what was applied to the image.
        image_size: (height, width) of the transformed image.
        mask_format: "polygon" or "bitmask".
        rotated_boxes: whether all boxes become rotated ones; otherwise all become upright, those
            round the rotated.
        keypoint_hflip_indices: see :func:`~d2_data.detection_utils.create_keypoint_hflip_indices`.

    Returns:
        ``Instances`` with ``gt_boxes``, ``gt_classes``, and ``gt_masks`` and ``gt_keypoints`` where
        the annotations have them.

    Raises:
        ValueError: if an annotation does not fit the image, or the mask format.
    """
    steps = TransformList([transforms]).transforms
    target = Instances(image_size)
    target.gt_boxes = _moved_boxes(annotations, transforms, image_size, rotated_boxes)
    classes = [annotation["category_id"] for annotation in annotations]
    target.gt_classes = torch.tensor(classes, dtype=torch.int64)
    if annotations and "segmentation" in annotations[0]:
        segmentations = [annotation["segmentation"] for annotation in annotations]
        if mask_format == "polygon":
            target.gt_masks = _polygon_masks(segmentations, steps)
        else:
            target.gt_masks = BitMasks(_bit_masks(segmentations, steps, image_size))
    if annotations and "keypoints" in annotations[0]:
        keypoints = np.array([a["keypoints"] for a in annotations], dtype=np.float64)
        target.gt_keypoints = Keypoints(
            moved_keypoints(
                keypoints.reshape(len(annotations), -1, 3),
                transforms,
                image_size,
                keypoint_hflip_indices,
            )
        )
    return target


def boxes_in(wanted: BoxMode, annotations: Sequence[dict[str, Any]]) -> np.ndarray:
    """The boxes of annotations in their one form.

    Args:
        wanted: ``XYXY_ABS`` or ``XYWHA_ABS``.
        annotations: see :func:`instance_targets`.

    Returns:
        (N, 4) float64 in pixels, or (N, 5) of rotated boxes.
    """
    numbers = 5 if wanted is BoxMode.XYWHA_ABS else 4
    modes = {annotation["bbox_mode"] for annotation in annotations}
    if len(modes) > 1:
        converted = [BoxMode.convert(a["bbox"], a["bbox_mode"], wanted) for a in annotations]
        return np.array(converted, dtype=np.float64)
    given = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64)
    for mode in modes:
        given = BoxMode.convert(given, mode, wanted)
    return given.reshape(-1, numbers)


def _moved_boxes(
    annotations: Sequence[dict[str, Any]],
    transforms: Transform,
    image_size: ImageSize,
    rotated_boxes: bool,
) -> Boxes | RotatedBoxes:
    wanted = BoxMode.XYWHA_ABS if rotated_boxes else BoxMode.XYXY_ABS
    boxes = boxes_in(wanted, annotations)
    height, width = image_size
    if rotated_boxes:
        turned = transforms.apply_rotated_box(boxes) if annotations else boxes
        rotated = RotatedBoxes(turned.astype(np.float32))
        rotated.clip(image_size)
        return rotated
    moved = transforms.apply_box(boxes) if annotations else boxes
    return Boxes(np.clip(moved, 0, [width, height, width, height]).astype(np.float32))


def _polygon_masks(segmentations: list[Any], steps: Sequence[Transform]) -> PolygonMasks:
    if not all(isinstance(segmentation, list) for segmentation in segmentations):
        raise ValueError(
            "mask_format='polygon' cannot hold segmentations that are masks or run lengths; use "
            "mask_format='bitmask' (INPUT.MASK_FORMAT = 'bitmask')"
        )
    return PolygonMasks(_moved_polygons(segmentations, steps))


def _moved_polygons(
    segmentations: Sequence[Sequence[Any]], steps: Sequence[Transform]
) -> list[list[np.ndarray]]:
    """The polygons of each object, each (N * 2,) float64, after transforms."""
    polygons = [
        [np.array(points, dtype=np.float64).reshape(-1, 2) for points in segmentation]
        for segmentation in segmentations
    ]
    for step in steps:
        if type(step).apply_polygons is not Transform.apply_polygons:
            # It may cut polygons into several, or leave some out.
            polygons = [step.apply_polygons(of_object) for of_object in polygons]
            continue
        flat = list(chain.from_iterable(polygons))
        if flat:
            points = step.apply_coords(np.concatenate(flat))
            ends = pairwise(accumulate(map(len, flat), initial=0))
            moved = iter([points[begin:end] for begin, end in ends])
            polygons = [list(islice(moved, len(of_object))) for of_object in polygons]
    return [[polygon.reshape(-1) for polygon in of_object] for of_object in polygons]


def _bit_masks(
    segmentations: Sequence[Any], steps: Sequence[Transform], image_size: ImageSize
) -> torch.Tensor:
    """(N, H, W) bool."""
    drawn = [i for i, s in enumerate(segmentations) if isinstance(s, list)]
    outlines = _moved_polygons([segmentations[i] for i in drawn], steps)
    pixels = polygons_to_bitmasks(outlines, *image_size) if drawn else None
    if pixels is not None and len(drawn) == len(segmentations):
        return torch.from_numpy(pixels)
    masks = np.zeros((len(segmentations), *image_size), dtype=bool)
    if pixels is not None:
        masks[drawn] = pixels
    encoded = [i for i, s in enumerate(segmentations) if not isinstance(s, list)]
    for (height, width), numbers in _by_size(segmentations, encoded).items():
        of_size = [segmentations[i] for i in numbers]
        maps = index_maps(steps, height, width)
        if maps is not None and (len(maps[0]), len(maps[1])) == tuple(image_size):
            _draw_resampled(masks, numbers, of_size, *maps)
        else:
            for number, segmentation in zip(numbers, of_size, strict=True):
                masks[number] = moved_mask(segmentation, TransformList(steps), image_size)
    return torch.from_numpy(masks)


def _by_size(segmentations: Sequence[Any], numbers: Sequence[int]) -> dict[ImageSize, list[int]]:
    groups: dict[ImageSize, list[int]] = {}
    for number in numbers:
        height, width = segmentations[number]["size"]
        groups.setdefault((height, width), []).append(number)
    return groups


def _draw_resampled(
    masks: np.ndarray,
    numbers: Sequence[int],
    segmentations: Sequence[Any],
    rows: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Draw run lengths after a change of rows and columns, where they have pixels only."""
    boxes = rle_bounding_boxes(segmentations).astype(np.int64).tolist()
    # One after the other, in the same few pages of memory.
    for number, segmentation, box in zip(numbers, segmentations, boxes, strict=True):
        x, y, width, height = box
        mask = rle_decode(segmentation)
        of_rows = np.flatnonzero((rows >= y) & (rows < y + height))
        of_columns = np.flatnonzero((columns >= x) & (columns < x + width))
        if len(of_rows) and len(of_columns):
            part = slice(of_rows[0], of_rows[-1] + 1), slice(of_columns[0], of_columns[-1] + 1)
            masks[number][part] = mask.take(rows[part[0]], axis=0).take(columns[part[1]], axis=1)
