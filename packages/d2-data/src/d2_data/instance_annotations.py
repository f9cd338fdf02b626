"""Annotations of single instances: moving them with the image, and batching them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d2_data.annotations import normalized_annotation
from d2_data.transforms import HFlipTransform, Transform, TransformList
from d2_ops.host import rle_decode
from d2_structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
    polygons_to_bitmask,
)

__all__ = [
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "filter_empty_instances",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
]

ImageSize = tuple[int, int]


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Transform | Sequence[Transform],
    image_size: ImageSize,
    *,
    keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
) -> dict[str, Any]:
    """Apply transforms to the box, segmentation and keypoints of one instance.

    Boxes go through ``apply_box`` and are clipped to the image (of a rotated one the upright one
    round it), polygons through ``apply_polygons``, run lengths are decoded and go through
    ``apply_segmentation``, keypoints through ``apply_coords``.

    Args:
        annotation: one instance in the standard dataset format, brought into its one form first
            (see :mod:`d2_data.annotations`); modified in place.
        transforms: what was applied to the image.
        image_size: (height, width) of the transformed image.
        keypoint_hflip_indices: see :func:`~d2_data.detection_utils.create_keypoint_hflip_indices`.

    Returns:
        ``annotation``, with ``bbox_mode`` XYXY_ABS; polygons as (N * 2,) float64 arrays,
        run lengths as an (H, W) uint8 mask, keypoints as (K, 3) float64.

    Raises:
        ValueError: if a field cannot be understood, a mask is not of the image's size before, or
            keypoints would be flipped without ``keypoint_hflip_indices``.
    """
    if not isinstance(transforms, Transform):
        transforms = TransformList(list(transforms))
    normal = normalized_annotation(annotation, needs_category=False)
    if normal is not annotation:
        annotation.clear()
        annotation.update(normal)
    height, width = image_size
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    moved = transforms.apply_box(np.asarray([box], dtype=np.float64))[0]
    annotation["bbox"] = np.clip(moved, 0, [width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(
            annotation["segmentation"], transforms, image_size
        )
    if "keypoints" in annotation:
        annotation["keypoints"] = transform_keypoint_annotations(
            annotation["keypoints"], transforms, image_size, keypoint_hflip_indices
        )
    return annotation


def _transform_segmentation(
    segmentation: list[Any] | dict[str, Any], transforms: Transform, image_size: ImageSize
) -> list[np.ndarray] | np.ndarray:
    if isinstance(segmentation, list):
        polygons = [np.asarray(points, dtype=np.float64).reshape(-1, 2) for points in segmentation]
        return [polygon.reshape(-1) for polygon in transforms.apply_polygons(polygons)]
    return moved_mask(segmentation, transforms, image_size).astype(np.uint8)


def moved_mask(
    segmentation: dict[str, Any], transforms: Transform, image_size: ImageSize
) -> np.ndarray:
    """(H, W) bool: run lengths after transforms; what a border adds belongs to no object.

    Raises:
        ValueError: if they are not of the image's size before.
    """
    mask = transforms.apply_segmentation(rle_decode(segmentation).astype(np.uint8))
    if mask.shape[:2] != tuple(image_size):
        raise ValueError(
            f"a mask of size {tuple(segmentation['size'])} becomes {mask.shape[:2]} while its "
            f"image becomes {tuple(image_size)}; the annotation belongs to another image size"
        )
    # Borders of label maps are filled with a label of their own, 255 for instance.
    inside: np.ndarray = mask == 1
    return inside


def transform_keypoint_annotations(
    keypoints: Sequence[float] | np.ndarray,
    transforms: Transform,
    image_size: ImageSize,
    keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
) -> np.ndarray:
    """Apply transforms to the keypoints of one instance.

    Args:
        keypoints: 3 * K values x, y, visibility.
        transforms: what was applied to the image.
        image_size: (height, width) of the transformed image.
        keypoint_hflip_indices: K indices that exchange left and right; used if the
            image was mirrored an odd number of times.

    Returns:
        (K, 3) float64. Keypoints that left the image get visibility 0, and unlabelled
        ones become (0, 0, 0).

    Raises:
        ValueError: if the image was mirrored and the indices are missing, or not K.
    """
    points = np.array(keypoints, dtype=np.float64).reshape(1, -1, 3)
    return moved_keypoints(points, transforms, image_size, keypoint_hflip_indices)[0]


def moved_keypoints(
    keypoints: np.ndarray,
    transforms: Transform,
    image_size: ImageSize,
    keypoint_hflip_indices: np.ndarray | Sequence[int] | None,
) -> np.ndarray:
    """The same for (N, K, 3) keypoints of N instances; a new array."""
    points = np.array(keypoints)
    count, number = points.shape[:2]
    moved = transforms.apply_coords(points[..., :2].reshape(-1, 2))
    points[..., :2] = moved.reshape(count, number, 2)
    height, width = image_size
    inside = ((points[..., :2] >= 0) & (points[..., :2] <= [width, height])).all(axis=-1)
    points[~inside, 2] = 0
    steps = TransformList([transforms]).transforms
    if sum(isinstance(step, HFlipTransform) for step in steps) % 2 == 1:
        if keypoint_hflip_indices is None:
            raise ValueError(
                "keypoints of a mirrored image need keypoint_hflip_indices to exchange left and "
                "right; make them by create_keypoint_hflip_indices(dataset_names)"
            )
        if len(keypoint_hflip_indices) != number:
            raise ValueError(
                f"an instance has {number} keypoints, the metadata's flip indices "
                f"{len(keypoint_hflip_indices)}; correct 'keypoint_names' of the dataset"
            )
        points = points[:, np.asarray(keypoint_hflip_indices)]
    points[points[..., 2] == 0] = 0
    return points


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: ImageSize, mask_format: str = "polygon"
) -> Instances:
    """Batch the annotations of one image into the targets that models train on.

    Args:
        annos: transformed annotations, see :func:`transform_instance_annotations`.
        image_size: (height, width) of the image.
        mask_format: "polygon" or "bitmask".

    Returns:
        ``Instances`` with ``gt_boxes`` and ``gt_classes`` (int64), ``gt_masks`` where the
        annotations have segmentations, ``gt_keypoints`` where they have keypoints.

    Raises:
        ValueError: if ``mask_format`` cannot hold the segmentations, only some annotations have
            one, or keypoints, or the numbers of keypoints differ.
    """
    target = Instances(image_size)
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    target.gt_boxes = Boxes(np.asarray(boxes, dtype=np.float32).reshape(-1, 4))
    target.gt_classes = _classes(annos)
    segmentations = _of_all(annos, "segmentation")
    if segmentations:
        target.gt_masks = _masks(segmentations, image_size, mask_format)
    keypoints = [np.asarray(points).reshape(-1, 3) for points in _of_all(annos, "keypoints")]
    if keypoints:
        numbers = [len(points) for points in keypoints]
        if len({*numbers}) > 1:
            raise ValueError(
                f"the objects of one image have {numbers} keypoints; a model learns one set of "
                "keypoints: leave out objects that have others"
            )
        target.gt_keypoints = Keypoints(np.stack(keypoints))
    return target


def _of_all(annos: Sequence[dict[str, Any]], field: str) -> list[Any]:
    """A field of each annotation; empty where none has it."""
    lacking = [index for index, a in enumerate(annos) if a.get(field) is None]
    if len(lacking) == len(annos):
        return []
    if lacking:
        raise ValueError(
            f"annotation {lacking[0]} of {len(annos)} has no {field!r}, and others of the same "
            f"image have; leave out such annotations ({lacking}), or remove the field from all. "
            "DatasetMapper does so by itself"
        )
    return [a[field] for a in annos]


def annotations_to_instances_rotated(
    annos: Sequence[dict[str, Any]], image_size: ImageSize
) -> Instances:
    """Batch annotations whose boxes are rotated.

    Args:
        annos: with ``bbox`` as (x_center, y_center, width, height, degrees counter-clockwise). A
            ``bbox_mode``, where there is one, says how they are written instead.
        image_size: (height, width) of the image.

    Returns:
        ``Instances`` with ``gt_boxes``, ``RotatedBoxes`` of which the nearly upright ones are
        clipped to the image, and ``gt_classes`` (int64).

    Raises:
        ValueError: if a box cannot be read in its mode, or is not finite.
    """
    target = Instances(image_size)
    rotated = BoxMode.XYWHA_ABS
    boxes = [BoxMode.convert(a["bbox"], a.get("bbox_mode", rotated), rotated) for a in annos]
    target.gt_boxes = RotatedBoxes(np.asarray(boxes, dtype=np.float32).reshape(-1, 5))
    target.gt_boxes.clip(image_size)
    target.gt_classes = _classes(annos)
    return target


def _classes(annos: Sequence[dict[str, Any]]) -> torch.Tensor:
    return torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)


def _masks(
    segmentations: list[Any], image_size: ImageSize, mask_format: str
) -> PolygonMasks | BitMasks:
    if mask_format == "polygon":
        for segmentation in segmentations:
            if not isinstance(segmentation, list):
                raise ValueError(
                    "mask_format='polygon' cannot hold segmentations that are masks or run "
                    "lengths; use mask_format='bitmask' (INPUT.MASK_FORMAT = 'bitmask')"
                )
        return PolygonMasks(segmentations)
    if mask_format != "bitmask":
        raise ValueError(f"mask_format is 'polygon' or 'bitmask', got {mask_format!r}")
    masks = np.stack([_bitmask(segmentation, image_size) for segmentation in segmentations])
    return BitMasks(torch.from_numpy(masks))


def _bitmask(segmentation: Any, image_size: ImageSize) -> np.ndarray:
    """One (H, W) boolean mask."""
    if isinstance(segmentation, list):
        return np.asarray(polygons_to_bitmask(segmentation, *image_size), dtype=bool)
    mask = rle_decode(segmentation) if isinstance(segmentation, dict) else np.asarray(segmentation)
    if mask.shape != tuple(image_size):
        raise ValueError(
            f"a segmentation mask has shape {mask.shape}, its image has {tuple(image_size)}"
        )
    return mask.astype(bool, copy=False)


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Any:
    """Drop instances that have nothing left in the image.

    Args:
        instances: with ``gt_boxes``, and ``gt_masks`` if masks are to be looked at.
        by_box: drop those whose box is empty.
        by_mask: drop those whose mask is empty.
        box_threshold: smallest width and height in pixels that are not empty.
        return_mask: also return which were kept.

    Returns:
        The remaining ``Instances``; with ``return_mask`` also an (N,) bool tensor.
    """
    keep = are_left(instances, by_box=by_box, by_mask=by_mask, box_threshold=box_threshold)
    return (instances[keep], keep) if return_mask else instances[keep]


def are_left(
    instances: Instances,
    *,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
) -> torch.Tensor:
    """(N,) bool: which instances :func:`filter_empty_instances` keeps."""
    if not (by_box or by_mask):
        raise ValueError("filter_empty_instances: give by_box=True or by_mask=True, or both")
    conditions = []
    if by_box:
        conditions.append(instances.gt_boxes.nonempty(threshold=box_threshold))
    if by_mask and instances.has("gt_masks"):
        conditions.append(_have_pixels(instances))
    if not conditions:
        return torch.ones(len(instances), dtype=torch.bool)
    return torch.stack(conditions).all(dim=0)


def _have_pixels(instances: Instances) -> torch.Tensor:
    """(N,) bool: ``gt_masks.nonempty()``, looking inside boxes first, where most pixels are."""
    masks, boxes = instances.gt_masks, instances.gt_boxes
    looks_inside = isinstance(masks, BitMasks) and isinstance(boxes, Boxes)
    if not looks_inside or masks.device.type != "cpu":
        found: torch.Tensor = masks.nonempty()
        return found
    any_pixel = [
        bool(mask[y0 : y1 + 1, x0 : x1 + 1].any() or mask.any())
        for mask, (x0, y0, x1, y1) in zip(
            masks.tensor.numpy(), boxes.tensor.int().clamp(min=0).tolist(), strict=True
        )
    ]
    return torch.tensor(any_pixel, dtype=torch.bool)
