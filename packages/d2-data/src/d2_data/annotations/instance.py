"""One object's annotation in the standard dataset format, brought into its one form."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from d2_data.annotations.plain_values import (
    finite_numbers,
    is_absent,
    plain,
    shortened,
    whole_number,
)
from d2_data.annotations.segmentations import (
    ImageSize,
    normalized_segmentation,
    segmentation_box,
)
from d2_structures import BoxMode

_ROTATED = BoxMode.XYWHA_ABS
_FIELDS = ("bbox", "segmentation", "keypoints", "iscrowd")


class Geometry(NamedTuple):
    """What was learned while an annotation's fields were brought into form.

    Attributes:
        changes: new values of fields; None for one that is to be left out.
        box_derived: whether the box is that of the segmentation, [x, y, width, height].
        invalid_polygons: how many polygons were left out.
        outline_lost: whether there were polygons and none of them is valid.
    """

    changes: dict[str, Any]
    box_derived: bool
    invalid_polygons: int
    outline_lost: bool


def normalized_annotation(
    annotation: dict[str, Any],
    image_size: ImageSize | None = None,
    *,
    needs_category: bool = True,
) -> dict[str, Any]:
    """Bring an annotation in the standard dataset format into its one form.

    Null, and NaN in place of a whole field, mean that the field is absent. Numbers of NumPy and
    torch become Python's, arrays lists. A missing box is that of the segmentation; polygons are
    nested as they should be, those of fewer than three points are left out, and plain run lengths
    are compressed. Keypoints are one flat list of x, y, visibility. Other fields stay.

    Args:
        annotation: stays as it is.
        image_size: (height, width) of the image, where known: run lengths must fit it.
        needs_category: whether to refuse one without ``category_id``.

    Returns:
        ``annotation`` itself if nothing has to be changed, otherwise a new dict.

    Raises:
        ValueError: if a field cannot be understood, numbers written as text included, or there is
            neither a box nor a segmentation. The message goes on after the annotation's name.
    """
    if _is_normal(annotation, image_size):
        return annotation
    if not isinstance(annotation, Mapping):
        raise ValueError(f"is {shortened(annotation)}; wanted an object with 'bbox' and others")
    changes, box_derived, _, _ = geometry(annotation, image_size)
    if box_derived:
        changes["bbox_mode"] = BoxMode.XYWH_ABS
    else:
        mode = _box_mode(annotation, len(changes.get("bbox") or annotation["bbox"]))
        if mode is not annotation.get("bbox_mode"):
            changes["bbox_mode"] = mode
    category = annotation.get("category_id")
    if is_absent(category):
        if needs_category:
            raise ValueError(f"lacks 'category_id'; it has {sorted(map(str, annotation))[:12]}")
    elif type(category) is not int:
        changes["category_id"] = whole_number("category_id", category, "the class's number from 0")
    return changed(annotation, changes)


def _is_normal(annotation: Any, image_size: ImageSize | None) -> bool:
    """Whether nothing has to be changed; quick, as nearly all annotations are so."""
    try:
        box, mode = annotation["bbox"], annotation["bbox_mode"]
        total = sum(box)
        if "segmentation" in annotation:
            segmentation = annotation["segmentation"]
            if type(segmentation) is dict:
                if normalized_segmentation(segmentation, image_size)[0] is not segmentation:
                    return False
            elif type(segmentation) is list and segmentation:
                for polygon in segmentation:
                    if type(polygon) is not list or len(polygon) < 6 or len(polygon) % 2:
                        return False
                    total += sum(polygon)
            else:
                return False
        if "keypoints" in annotation:
            keypoints = annotation["keypoints"]
            if type(keypoints) is not list or not keypoints or len(keypoints) % 3:
                return False
            total += sum(keypoints)
        return (
            type(box) is list
            and len(box) == (5 if mode is _ROTATED else 4)
            and type(total) in (int, float)
            and total - total == 0
            and type(mode) is BoxMode
            and type(annotation["category_id"]) is int
            and type(annotation.get("iscrowd", 0)) is int
        )
    except (TypeError, LookupError, AttributeError):
        return False


def changed(entry: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``entry`` with some fields replaced, or left out where the change is None."""
    if not changes:
        return entry
    merged = {**entry, **changes}
    return {key: value for key, value in merged.items() if value is not None or key not in changes}


def geometry(
    annotation: Mapping[str, Any],
    image_size: ImageSize | None,
    *,
    needs_box: bool = True,
) -> Geometry:
    """What has to be changed about the box, segmentation, keypoints and crowd flag.

    Args:
        annotation: of the standard dataset format, or of COCO's.
        image_size: (height, width) of the image, where known.
        needs_box: whether to refuse an annotation without box and segmentation.

    Raises:
        ValueError: if a field cannot be understood; see :func:`normalized_annotation`.
    """
    changes: dict[str, Any] = {}
    present = {}
    for field in _FIELDS:
        if field in annotation:
            value = annotation[field]
            if value is None or (not isinstance(value, list | dict | int) and is_absent(value)):
                changes[field] = None
            else:
                present[field] = value
    segmentation, invalid = None, 0
    if "segmentation" in present:
        segmentation, invalid = normalized_segmentation(present["segmentation"], image_size)
        if segmentation is not present["segmentation"]:
            changes["segmentation"] = segmentation
    box = _box(present.get("bbox"))
    derived = False
    if segmentation is not None and box is None:
        box, derived = segmentation_box(segmentation), True
    if box is None and needs_box:
        raise ValueError(
            "has neither a 'bbox' nor a 'segmentation' with an area; add one, or remove it"
        )
    if box is not present.get("bbox"):
        changes["bbox"] = box
    if "keypoints" in present:
        keypoints = _keypoints(present["keypoints"])
        if keypoints is not present["keypoints"]:
            changes["keypoints"] = keypoints
    if "iscrowd" in present and type(present["iscrowd"]) is not int:
        changes["iscrowd"] = whole_number("iscrowd", present["iscrowd"], "0 or 1")
    return Geometry(changes, derived, invalid, invalid > 0 and segmentation is None)


def _box(value: Any) -> list[float] | None:
    if value is None:
        return None
    numbers = finite_numbers("bbox", value, "four finite numbers")
    if not numbers:
        return None
    if len(numbers) not in (4, 5):
        raise ValueError(
            f"has 'bbox' {shortened(value)}; wanted [x, y, width, height], or five numbers "
            "[x, y, width, height, degrees] of a rotated box"
        )
    return numbers


def _box_mode(annotation: Mapping[str, Any], numbers: int) -> BoxMode:
    mode = annotation.get("bbox_mode")
    if type(mode) is not BoxMode:
        if is_absent(mode):
            raise ValueError(
                "lacks 'bbox_mode', which says how its 'bbox' is written; add BoxMode.XYXY_ABS "
                "or BoxMode.XYWH_ABS of d2_structures"
            )
        try:
            mode = BoxMode(plain(mode))
        except ValueError:
            raise ValueError(
                f"has 'bbox_mode' {mode!r}; wanted one of {[str(known) for known in BoxMode]}"
            ) from None
    wanted = 5 if mode is _ROTATED else 4
    if numbers != wanted:
        raise ValueError(
            f"has a 'bbox' of {numbers} numbers in the mode {mode.name}, which has {wanted}"
        )
    return mode


def _keypoints(value: Any) -> list[float] | None:
    """One flat list of x, y, visibility; None if there are no points."""
    points = plain(value)
    if isinstance(points, list | tuple) and not all(isinstance(p, int | float) for p in points):
        points = [plain(point) for point in points]
        if any(isinstance(point, list | tuple) for point in points):
            if not all(isinstance(point, list | tuple) and len(point) == 3 for point in points):
                raise ValueError(
                    f"has 'keypoints' {shortened(value)}; wanted [x1, y1, visibility1, x2, …]"
                )
            points = [number for point in points for number in point]
    numbers = finite_numbers("keypoints", points, "[x1, y1, visibility1, x2, …]")
    if len(numbers) % 3:
        raise ValueError(f"has {len(numbers)} keypoint values; wanted triples of x, y, visibility")
    return numbers or None
