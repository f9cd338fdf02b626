"""Dataset dicts, brought into the one form that loaders, mappers and evaluators read."""

from collections.abc import Mapping
from typing import Any

from d2_data.annotations.instance import changed, normalized_annotation
from d2_data.annotations.plain_values import is_absent, plain, shortened, whole_number
from d2_data.annotations.segmentations import ImageSize
from d2_data.located_errors import locate, picture


def normalized_record(record: dict[str, Any]) -> dict[str, Any]:
    """Bring a dict in the standard dataset format into its one form.

    Its annotations become what :func:`~d2_data.annotations.normalized_annotation` makes of them;
    ``height``, ``width`` and ``image_id`` of NumPy or torch become Python's numbers; a null field
    is left out.

    Args:
        record: stays as it is.

    Returns:
        ``record`` itself if nothing has to be changed, otherwise a new dict.

    Raises:
        ValueError: if a field cannot be understood; names the picture and the annotation.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"wanted a dict in the standard dataset format, got {shortened(record)}")
    try:
        changes = _changes(record)
    except ValueError as error:
        locate(error, picture(record))
        raise
    return changed(record, changes)


def normalized_annotations(
    annotations: list[dict[str, Any]], image_size: ImageSize | None
) -> list[dict[str, Any]]:
    """All annotations of a picture in their one form, in their order.

    Returns:
        ``annotations`` itself if nothing has to be changed.

    Raises:
        ValueError: if one cannot be understood; names it by its place in the list.
    """
    normal = []
    for index, annotation in enumerate(annotations):
        try:
            normal.append(normalized_annotation(annotation, image_size))
        except ValueError as error:
            locate(error, annotation_place(index, annotation, len(annotations)))
            raise
    same = all(new is old for new, old in zip(normal, annotations, strict=True))
    return annotations if same else normal


def annotation_place(index: int, annotation: Any, count: int) -> str:
    """What to call an annotation of a picture in a message."""
    identity = annotation.get("id") if isinstance(annotation, Mapping) else None
    named = "" if identity is None else f" (id {identity!r})"
    return f"annotation {index}{named} of {count}"


def plain_id(value: Any) -> Any:
    """An image's or annotation's id, text or number, without NumPy or torch."""
    return value if type(value) in (int, str) else plain(value)


def image_size_of(record: Mapping[str, Any]) -> ImageSize | None:
    """(height, width) where a record tells both."""
    height, width = record.get("height"), record.get("width")
    return None if height is None or width is None else (height, width)


def _changes(record: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for side in ("height", "width"):
        if type(record.get(side)) is not int and side in record:
            value = record[side]
            absent = is_absent(value)
            changes[side] = None if absent else whole_number(side, value, "pixels")
    if "image_id" in record:
        identity = plain_id(record["image_id"])
        if identity is not record["image_id"] or identity is None:
            changes["image_id"] = identity
    annotations = record.get("annotations")
    if annotations is None:
        return {**changes, "annotations": None} if "annotations" in record else changes
    if not isinstance(annotations, list):
        if not isinstance(annotations, tuple):
            raise ValueError(f"has 'annotations' {shortened(annotations)}; wanted a list of dicts")
        annotations = list(annotations)
    normal = normalized_annotations(annotations, image_size_of({**record, **changes}))
    if normal is not record["annotations"]:
        changes["annotations"] = normal
    return changes
