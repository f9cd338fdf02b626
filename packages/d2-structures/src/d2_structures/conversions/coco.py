"""`Instances` and COCO's annotation and result dicts.

COCO writes boxes as (x, y, width, height) in continuous pixels, and keypoints as pixel indices:
they are moved by half a pixel between there and here. Rotated boxes are five numbers, (x_center,
y_center, width, height, degrees counter-clockwise), as detection projects write them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from d2_ops import host

from ..bit_masks import BitMasks
from ..box_mode import BoxMode
from ..boxes import Boxes
from ..instances import Instances
from ..polygon_masks import PolygonMasks
from ..rle_masks import RLEMasks
from ..rotated_boxes import RotatedBoxes
from .fields import (
    KnownFields,
    as_bitmaps,
    as_numpy,
    build_instances,
    check_size_of_masks,
    known_fields,
)

__all__ = ["instances_from_coco", "instances_to_coco", "predictions_to_coco_results"]

_Value = TypeVar("_Value")

_MASK_FORMATS = (None, "polygon", "bitmask", "rle")


def instances_to_coco(
    instances: Instances,
    image_id: int | str,
    *,
    id_map: Mapping[int, int] | None = None,
    first_id: int | None = None,
) -> list[dict[str, Any]]:
    """Write predictions as COCO results, or ground truth as COCO annotations.

    Args:
        instances: with the documented fields of predictions or of ground truth; boxes and classes
            are needed, scores too where there are ``pred_boxes``.
        image_id: the image's id in the dataset.
        id_map: dataset's category id → class, ``thing_dataset_id_to_contiguous_id`` of metadata.
            None writes the classes themselves.
        first_id: ``id`` of the first annotation, the others count on; None writes no ids.

    Returns:
        One JSON-ready dict per instance: ``image_id``, ``category_id``, ``bbox``; where there are
        masks ``segmentation``, polygons from `PolygonMasks` and compressed run lengths from
        others; where there are keypoints ``keypoints``. Predictions also have ``score``, ground
        truth ``area`` in square pixels (of the mask, else of the box), ``iscrowd`` (the field
        ``gt_iscrowd``, else 0) and with keypoints ``num_keypoints``.

    Raises:
        ValueError: if a field is missing, a number is not finite, or a class is not in ``id_map``.
    """
    fields = known_fields(instances)
    needed = ("classes", "scores") if fields.predicted else ("classes",)
    for name in needed:
        if getattr(fields, name) is None:
            raise ValueError(
                f"the instances of image {image_id!r} need {name} for COCO; they have the fields "
                f"{sorted(instances.get_fields())}"
            )
    columns: dict[str, Sequence[Any]] = {
        "category_id": _categories(fields, id_map),
        "bbox": _coco_boxes(fields.boxes).tolist(),
    }
    if fields.masks is not None:
        columns["segmentation"] = _segmentations(fields.masks, instances.image_size)
    if fields.keypoints is not None:
        columns["keypoints"] = _coco_keypoints(fields.keypoints, fields.predicted).tolist()
    if fields.predicted:
        columns["score"] = _finite(fields.scores, "scores").tolist()
    else:
        columns["area"] = _areas(fields, columns.get("segmentation"), instances.image_size)
        crowd = instances.gt_iscrowd if instances.has("gt_iscrowd") else [0] * len(instances)
        columns["iscrowd"] = [int(value) for value in crowd]
        if fields.keypoints is not None:
            seen = fields.keypoints[:, :, 2] > 0
            columns["num_keypoints"] = seen.sum(dim=1).tolist()
    if first_id is not None:
        columns["id"] = range(first_id, first_id + len(instances))
    return [
        {"image_id": image_id, **dict(zip(columns, values, strict=True))}
        for values in zip(*columns.values(), strict=True)
    ]


def predictions_to_coco_results(instances: Instances, image_id: int | str) -> host.CocoResults:
    """Write predictions as COCO's results, in arrays: the numbers of `instances_to_coco`.

    Args:
        instances: with the documented fields of predictions.
        image_id: the image's id in the dataset.

    Returns:
        Columns of N results, their classes as they are.

    Raises:
        ValueError: if a field is missing, a number is not finite, or masks are not of the image's
            size.
    """
    fields = known_fields(instances)
    if not fields.predicted or fields.classes is None or fields.scores is None:
        raise ValueError(
            f"the instances of image {image_id!r} need pred_boxes, pred_classes and scores; they "
            f"have the fields {sorted(instances.get_fields())}"
        )
    points = fields.keypoints
    count = len(instances)
    return host.CocoResults(
        images=np.full(count, image_id, None if isinstance(image_id, int) else object),
        categories=as_numpy(fields.classes).astype(np.int64),
        scores=_finite_float64(fields.scores, "scores"),
        boxes=_box_columns(fields.boxes),
        masks=None if fields.masks is None else _packed_masks(fields.masks, instances.image_size),
        keypoints=None if points is None else _coco_keypoints(points, True),
    )


def instances_from_coco(
    annotations: Sequence[Mapping[str, Any]],
    image_size: tuple[int, int],
    *,
    id_map: Mapping[int, int] | None = None,
    mask_format: str | None = None,
) -> Instances:
    """Read the annotations or the results of one image.

    Args:
        annotations: dicts with ``bbox`` and ``category_id``, and optionally ``segmentation``
            (polygons or run lengths), ``keypoints`` and ``iscrowd``. Where each has a ``score``
            they are taken for predictions. A ``bbox_mode`` says how a box is written where it is
            not COCO's way.
        image_size: (height, width) of the image in pixels.
        id_map: dataset's category id → class, ``thing_dataset_id_to_contiguous_id`` of metadata.
            None keeps the ids as classes.
        mask_format: ``"polygon"``, ``"bitmask"`` or ``"rle"`` (`RLEMasks`); None takes
            `PolygonMasks` where all segmentations are polygons and bitmaps elsewhere.

    Returns:
        Instances with the documented fields; ``gt_iscrowd`` (bool) where ground truth says it. An
        annotation without the segmentation or keypoints that others have gets an empty mask, and
        keypoints that are not labelled.

    Raises:
        ValueError: naming the annotation, if something is missing, malformed, not finite or
            negative in size, or a category is not in ``id_map``.
        TypeError: if ``annotations`` is not a list of dicts.
    """
    if mask_format not in _MASK_FORMATS:
        raise ValueError(f"mask_format must be one of {_MASK_FORMATS}, got {mask_format!r}")
    if isinstance(annotations, Mapping):
        raise TypeError("annotations must be a list of dicts, got a single dict")
    for position, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping):
            raise TypeError(f"annotation {position} must be a dict, got {annotation!r}")
        missing = {"bbox", "category_id"} - annotation.keys()
        if missing:
            raise ValueError(
                f"annotation {position} lacks {sorted(missing)}; it has {sorted(annotation)}"
            )
    predicted = bool(annotations) and all("score" in a for a in annotations)
    instances = build_instances(
        image_size,
        predicted=predicted,
        boxes=_boxes_from_coco(annotations),
        classes=[_class_of(a["category_id"], id_map, i) for i, a in enumerate(annotations)],
        scores=_read("score", annotations, float) if predicted else None,
        masks=_masks_from_coco(annotations, image_size, mask_format),
        keypoints=_keypoints_from_coco(annotations, predicted),
    )
    if not predicted and any("iscrowd" in a for a in annotations):
        instances.gt_iscrowd = torch.tensor([bool(a.get("iscrowd", 0)) for a in annotations])
    return instances


def _read(
    key: str,
    annotations: Sequence[Mapping[str, Any]],
    read: Callable[[Any], _Value],
    defaults: Sequence[Any] | None = None,
) -> list[_Value]:
    """An entry of every annotation; one that cannot be read is named."""
    values = []
    for position, annotation in enumerate(annotations):
        value = annotation[key] if defaults is None else annotation.get(key, defaults[position])
        try:
            values.append(read(value))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{key} of annotation {position} is {value!r:.80}, which cannot be read: {error}"
            ) from error
    return values


def _flat_numbers(values: Any) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(-1)


def _categories(fields: KnownFields, id_map: Mapping[int, int] | None) -> list[int]:
    assert fields.classes is not None
    classes = [int(c) for c in fields.classes.tolist()]
    if id_map is None:
        return classes
    ids = {contiguous: dataset_id for dataset_id, contiguous in id_map.items()}
    unknown = sorted({c for c in classes if c not in ids})
    if unknown:
        raise ValueError(f"classes {unknown} are not among the classes of id_map, {sorted(ids)}")
    return [ids[c] for c in classes]


def _class_of(category_id: Any, id_map: Mapping[int, int] | None, position: int) -> int:
    if id_map is None:
        if not isinstance(category_id, (int, np.integer)):
            raise ValueError(
                f"category_id of annotation {position} must be an integer, got {category_id!r}"
            )
        return int(category_id)
    if category_id not in id_map:
        raise ValueError(
            f"category_id {category_id!r} of annotation {position} is not in id_map, which has "
            f"{sorted(id_map)}"
        )
    return id_map[category_id]


def _coco_boxes(boxes: Boxes) -> Tensor:
    numbers = _finite(boxes.tensor, "boxes")
    if isinstance(boxes, RotatedBoxes):
        return numbers
    return BoxMode.convert(numbers, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def _boxes_from_coco(annotations: Sequence[Mapping[str, Any]]) -> Boxes:
    written = _read("bbox", annotations, lambda bbox: [float(value) for value in bbox])
    for position, box in enumerate(written):
        if len(box) not in (4, 5) or not np.isfinite(box).all():
            raise ValueError(
                f"bbox of annotation {position} must be 4 numbers (x, y, width, height), or 5 for "
                f"a rotated box, all finite; got {box}"
            )
    own_modes = [BoxMode.XYWHA_ABS if len(box) == 5 else BoxMode.XYWH_ABS for box in written]
    modes = _read("bbox_mode", annotations, BoxMode, defaults=own_modes)
    rotated = BoxMode.XYWHA_ABS in modes
    wanted = BoxMode.XYWHA_ABS if rotated else BoxMode.XYXY_ABS
    boxes = [BoxMode.convert(box, m, wanted) for box, m in zip(written, modes, strict=True)]
    for position, box in enumerate(boxes):
        width, height = box[2:4] if rotated else (box[2] - box[0], box[3] - box[1])
        if width < 0 or height < 0:
            raise ValueError(
                f"bbox of annotation {position} has a negative size: {written[position]} in mode "
                f"{modes[position].name}"
            )
    return RotatedBoxes(boxes) if rotated else Boxes(boxes)


def _segmentations(masks: Any, image_size: tuple[int, int]) -> list[Any]:
    if isinstance(masks, PolygonMasks):
        return [[polygon.tolist() for polygon in instance] for instance in masks.polygons]
    return [
        {**rle, "counts": rle["counts"].decode("ascii")}
        for rle in host.unpack_rles(_packed_masks(masks, image_size))
    ]


def _packed_masks(masks: Any, image_size: tuple[int, int]) -> host.PackedRLEs:
    if isinstance(masks, PolygonMasks):
        masks = RLEMasks.from_polygon_masks(masks, *image_size)
    if isinstance(masks, RLEMasks):
        check_size_of_masks(masks, image_size)
        return host.pack_rles(masks.rles)
    bitmaps = as_numpy(as_bitmaps(masks, image_size))
    return host.pack_masks(bitmaps, num_threads=torch.get_num_threads())


def _masks_from_coco(
    annotations: Sequence[Mapping[str, Any]], image_size: tuple[int, int], mask_format: str | None
) -> PolygonMasks | RLEMasks | BitMasks | None:
    if not any("segmentation" in a for a in annotations):
        return None
    segmentations = [a.get("segmentation", []) for a in annotations]
    encoded = [i for i, one in enumerate(segmentations) if isinstance(one, Mapping)]
    if mask_format == "polygon" and encoded:
        raise ValueError(
            f"the segmentation of annotation {encoded[0]} is run lengths, which "
            "mask_format='polygon' cannot hold; use 'bitmask' or 'rle'"
        )
    polygons = PolygonMasks([[] if isinstance(one, Mapping) else one for one in segmentations])
    if not encoded and mask_format in (None, "polygon"):
        return polygons
    rles: list[Any] = [*RLEMasks.from_polygon_masks(polygons, *image_size)]
    for i in encoded:
        rles[i] = segmentations[i]
    masks = RLEMasks(rles, image_size)
    return masks if mask_format == "rle" else masks.to_bitmasks()


def _coco_keypoints(keypoints: Tensor, predicted: bool) -> np.ndarray:
    points = as_numpy(_finite(keypoints, "keypoints")).astype(np.float64)
    points[..., :2] -= 0.5
    if not predicted:
        points[points[..., 2] <= 0] = 0
    return points.reshape(len(points), 3 * points.shape[1])


def _keypoints_from_coco(
    annotations: Sequence[Mapping[str, Any]], predicted: bool
) -> np.ndarray | None:
    """(N, K, 3), or None where no annotation has any."""
    nothing: list[Any] = [()] * len(annotations)
    flat = _read("keypoints", annotations, _flat_numbers, defaults=nothing)
    size = max((numbers.size for numbers in flat), default=0)
    if not size:
        return None
    keypoints = np.zeros((len(flat), size))
    for position, numbers in enumerate(flat):
        fits = numbers.size in (0, size) and numbers.size % 3 == 0
        if not fits or not np.isfinite(numbers).all():
            raise ValueError(
                f"keypoints of annotation {position} must be x, y, visibility of the same "
                f"keypoints as in the others, all finite; got {numbers.size} numbers, the longest "
                f"has {size}"
            )
        keypoints[position, : numbers.size] = numbers
    triples = keypoints.reshape(len(flat), -1, 3)
    triples[..., :2] += 0.5
    if not predicted:
        triples[triples[..., 2] <= 0] = 0
    return triples


def _areas(
    fields: KnownFields, segmentations: Sequence[Any] | None, image_size: tuple[int, int]
) -> list[float]:
    if segmentations is None:
        return [float(area) for area in fields.boxes.area().tolist()]
    rles = [
        one if isinstance(one, dict) else host.polygons_to_rle(one, *image_size)
        for one in segmentations
    ]
    return [float(area) for area in host.rle_area(rles)]


def _box_columns(boxes: Boxes) -> np.ndarray:
    """As `_coco_boxes`, sooner: NumPy takes less for the few boxes of an image."""
    numbers = boxes.tensor.detach().cpu()
    if isinstance(boxes, RotatedBoxes) or numbers.dtype not in (torch.float32, torch.float64):
        return _finite_float64(_coco_boxes(boxes), "boxes")
    corners = numbers.numpy()
    columns = np.empty(corners.shape)
    columns[:, :2] = corners[:, :2]
    columns[:, 2:] = corners[:, 2:] - corners[:, :2]  # in the precision of the boxes
    return _checked_finite(columns, "boxes")


def _finite_float64(tensor: Tensor, name: str) -> np.ndarray:
    return _checked_finite(as_numpy(tensor.detach().double()), name)


def _checked_finite(numbers: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} hold NaN or infinity, which COCO's JSON cannot")
    return numbers


def _finite(tensor: Tensor | None, name: str) -> Tensor:
    assert tensor is not None
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} hold NaN or infinity, which COCO's JSON cannot")
    return tensor.detach()
