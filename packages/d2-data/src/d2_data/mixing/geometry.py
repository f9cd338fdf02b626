"""Moving, cutting and joining whole samples: pictures with all that is drawn on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d2_data.image_reading import image_to_tensor
from d2_data.instance_annotations import moved_keypoints
from d2_data.mixing.mix import Sample
from d2_data.rotated_corners import rotated_corners
from d2_data.transforms import CropTransform, PadTransform, Transform
from d2_data.transforms.polygon_clipping import clip_polygon
from d2_structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes

ImageSize = tuple[int, int]

EMPTY = 1e-5
"""Boxes with a side of at most so many pixels hold nothing."""

_SET = np.uint8(254)


def image_size(sample: Sample) -> ImageSize:
    """(height, width) of a sample's image in pixels."""
    height, width = sample["image"].shape[-2:]
    return int(height), int(width)


def moved(
    sample: Sample,
    transform: Transform,
    flip_indices: Sequence[int] | None = None,
    pixels: np.ndarray | None = None,
) -> Sample:
    """Apply a transform to the image of a sample and to all that is drawn on it.

    Args:
        sample: stays as it is.
        transform: of any kind.
        flip_indices: see :func:`~d2_data.detection_utils.create_keypoint_hflip_indices`.
        pixels: (H, W, C), the image after the transform, where it is known.

    Returns:
        A new sample. What left the image is gone from every ``Instances`` in it; an object that
        was cut has the tight box of what is left of its mask, where it has one.
    """
    if pixels is None:
        pixels = transform.apply_image(sample["image"].permute(1, 2, 0).numpy())
    size = (pixels.shape[0], pixels.shape[1])
    result = {**sample, "image": image_to_tensor(pixels)}
    if "sem_seg" in sample:
        labels = transform.apply_segmentation(sample["sem_seg"].numpy())
        result["sem_seg"] = image_to_tensor(labels)[0]
    for key, value in sample.items():
        if isinstance(value, Instances):
            result[key] = _moved_targets(value, transform, size, flip_indices)
    return result


def window(sample: Sample, x0: int, y0: int, width: int, height: int) -> Sample:
    """Cut a window out of a sample; the same sample where it is all of it."""
    whole_height, whole_width = image_size(sample)
    if (x0, y0, width, height) == (0, 0, whole_width, whole_height):
        return sample
    crop = CropTransform(x0, y0, width, height, orig_w=whole_width, orig_h=whole_height)
    return moved(sample, crop)


def on_canvas(
    sample: Sample, size: ImageSize, x0: int, y0: int, pad_value: float, seg_pad_value: int
) -> Sample:
    """Put a sample on a canvas, with its top left corner at (x0, y0); it has to fit.

    Args:
        sample: stays as it is.
        size: (height, width) of the canvas in pixels.
        x0, y0: where it begins, in pixels.
        pad_value: of the canvas where the sample leaves it bare.
        seg_pad_value: of the labels there.
    """
    height, width = image_size(sample)
    if (height, width) == size:
        return sample
    right, bottom = size[1] - x0 - width, size[0] - y0 - height
    pad = PadTransform(
        *(x0, y0, right, bottom, width, height), pad_value=pad_value, seg_pad_value=seg_pad_value
    )
    return moved(sample, pad)


def joined(parts: Sequence[Instances]) -> Instances:
    """Objects of samples of one size as those of one picture.

    Raises:
        ValueError: if the fields of the objects differ.
    """
    filled = [part for part in parts if len(part)]
    # A picture without objects may lack the fields that only objects have.
    return Instances.cat(filled) if filled else parts[0]


def join_targets(result: Sample, samples: Sequence[Sample]) -> None:
    """Give ``result`` the objects, and proposals, of all samples, in place."""
    for key in result:
        if isinstance(result[key], Instances):
            result[key] = joined([sample[key] for sample in samples if key in sample])


def forget_file_size(result: Sample, file_size_of: Sample) -> None:
    """Let "height" and "width", where there, be those of the image, in place.

    They tell the file's size otherwise, which a picture of several files has not.
    """
    if "height" in file_size_of and "width" in file_size_of:
        result["height"], result["width"] = image_size(result)


def left(targets: Instances) -> Instances:
    """The objects of which something is left."""
    keep = torch.ones(len(targets), dtype=torch.bool)
    for value in targets.get_fields().values():
        if isinstance(value, Boxes):
            keep &= value.nonempty(EMPTY)
        elif isinstance(value, PolygonMasks | BitMasks):
            keep &= value.nonempty()
    return targets if bool(keep.all()) else targets[keep]


def _moved_targets(
    targets: Instances,
    transform: Transform,
    size: ImageSize,
    flip_indices: Sequence[int] | None,
) -> Instances:
    def moved_field(value: Any, masks: Any | None = None) -> Any:
        if isinstance(value, PolygonMasks):
            return _moved_polygons(value, transform)
        if isinstance(value, BitMasks):
            return _moved_bitmasks(value, transform, size)
        if isinstance(value, Keypoints):
            return _moved_keypoints(value, transform, size, flip_indices)
        if isinstance(value, RotatedBoxes):
            return _moved_rotated_boxes(value, transform, size)
        if isinstance(value, Boxes):
            return _moved_boxes(value, transform, size, masks)
        return value

    fields = targets.get_fields()
    # First, as the boxes of objects that are cut follow from their masks.
    masks = moved_field(fields["gt_masks"]) if "gt_masks" in fields else None
    result = Instances(size)
    for name, value in fields.items():
        if name == "gt_masks":
            result.set(name, masks)
        else:
            result.set(name, moved_field(value, masks if name == "gt_boxes" else None))
    return left(result)


def _moved_boxes(boxes: Boxes, transform: Transform, size: ImageSize, masks: Any | None) -> Boxes:
    points = transform.apply_box(boxes.tensor.numpy()).astype(np.float32)
    whole = torch.from_numpy(points).reshape(-1, 4)
    result = Boxes(whole.clone())
    result.clip(size)
    if masks is not None:
        cut = ((result.tensor != whole).any(dim=1)) & result.nonempty(EMPTY)
        if bool(cut.any()):
            tight = masks[cut].get_bounding_boxes()
            tight.clip(size)
            result.tensor[cut] = tight.tensor
    return result


def _moved_rotated_boxes(
    boxes: RotatedBoxes, transform: Transform, size: ImageSize
) -> RotatedBoxes:
    """Those that left the image get no extent; others may reach out of it."""
    points = np.asarray(transform.apply_rotated_box(boxes.tensor.numpy()), dtype=np.float32)
    result = points.reshape(-1, 5).copy()
    limits = (0.0, 0.0, float(size[1]), float(size[0]))
    for row in result:
        if not clip_polygon(rotated_corners(row), limits):
            row[2:4] = 0
    turned = RotatedBoxes(torch.from_numpy(result))
    turned.clip(size)
    return turned


def _moved_polygons(masks: PolygonMasks, transform: Transform) -> PolygonMasks:
    return PolygonMasks(
        [
            [
                polygon.reshape(-1)
                for polygon in transform.apply_polygons([p.reshape(-1, 2) for p in polygons])
            ]
            for polygons in masks.polygons
        ]
    )


def _moved_bitmasks(masks: BitMasks, transform: Transform, size: ImageSize) -> BitMasks:
    if not len(masks):
        return BitMasks(torch.zeros((0, *size), dtype=torch.bool))
    # A value of its own: what is padded, often with 255, belongs to no object.
    bitmaps = masks.tensor.numpy().astype(np.uint8) * _SET
    return BitMasks(np.stack([transform.apply_segmentation(bitmap) for bitmap in bitmaps]) == _SET)


def _moved_keypoints(
    keypoints: Keypoints,
    transform: Transform,
    size: ImageSize,
    flip_indices: Sequence[int] | None,
) -> Keypoints:
    if not len(keypoints):
        return keypoints
    points = keypoints.tensor.numpy().astype(np.float64)
    return Keypoints(moved_keypoints(points, transform, size, flip_indices).astype(np.float32))
