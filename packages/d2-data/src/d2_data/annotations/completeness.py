"""Pictures in which some objects lack the mask or the keypoints that others have."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Lacking(NamedTuple):
    """How many objects of a dataset lack a field that a model may learn from.

    Attributes:
        objects: those that are not crowds.
        lacking: those of them without the field.
        pictures: how many pictures have such objects.
        example: a picture that has, or None.
    """

    objects: int
    lacking: int
    pictures: int
    example: Mapping[str, Any] | None


def is_crowd(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation, in whatever form, is of a region that is a crowd of objects."""
    flag = annotation.get("iscrowd", 0)
    return flag is not None and flag == 1


def is_lacking(annotation: Mapping[str, Any], field: str) -> bool:
    """Whether an annotation, in whatever form, has no such field, or an empty one."""
    value = annotation.get(field)
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def count_lacking(records: Iterable[Mapping[str, Any]], field: str) -> Lacking:
    """Count the objects without ``field``, which is ``"segmentation"`` or ``"keypoints"``.

    Args:
        records: in the standard dataset format, not yet in one form.
        field: of an annotation.
    """
    objects = lacking = pictures = 0
    example = None
    for record in records:
        here = 0
        for annotation in record.get("annotations") or ():
            if not is_crowd(annotation):
                objects += 1
                here += is_lacking(annotation, field)
        if here:
            lacking += here
            pictures += 1
            example = record if example is None else example
    return Lacking(objects, lacking, pictures, example)


def has_any(records: Iterable[Mapping[str, Any]], field: str) -> bool:
    """Whether an object of a dataset has a field, or there are no objects at all.

    Args:
        records: of the whole dataset, in the standard dataset format; looked at until one has.
        field: of an annotation.
    """
    objects = 0
    for record in records:
        for annotation in record.get("annotations") or ():
            if not is_crowd(annotation):
                objects += 1
                if not is_lacking(annotation, field):
                    return True
    return objects == 0


def with_keypoints(
    annotations: Sequence[dict[str, Any]], count: int | None, places: Sequence[str]
) -> list[dict[str, Any]]:
    """The annotations of a picture, those without keypoints with unlabelled ones.

    Args:
        annotations: in their one form.
        count: how many keypoints an object has, where known; otherwise what most of the
            picture's objects have.
        places: what to call each annotation in messages.

    Returns:
        New dicts where something was added. Where no object has keypoints and ``count`` is None
        nothing is.

    Raises:
        ValueError: if an object has another number of keypoints.
    """
    numbers = Counter(len(a["keypoints"]) // 3 for a in annotations if "keypoints" in a)
    if count is None:
        if not numbers:
            return list(annotations)
        count = numbers.most_common(1)[0][0]
    for place, annotation in zip(places, annotations, strict=True):
        found = len(annotation.get("keypoints", ())) // 3
        if found not in (0, count):
            raise ValueError(
                f"{place} has {found} keypoints, where the dataset's objects have {count}; a model "
                "learns one set of keypoints: leave the others out, or correct the annotation"
            )
    unlabelled = [0.0] * (3 * count)
    return [a if "keypoints" in a else {**a, "keypoints": unlabelled} for a in annotations]
