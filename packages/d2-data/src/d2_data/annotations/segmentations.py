"""Outlines and masks, however they are nested, as lists of polygons or run lengths."""

from collections.abc import Mapping, Sequence
from typing import Any

from d2_data.annotations.plain_values import finite_numbers, is_number, plain, shortened
from d2_ops.host import polygons_to_rle, rle_area, rle_bounding_boxes, rle_compress

ImageSize = tuple[int, int]

_POLYGON = "a list of polygons [[x1, y1, x2, y2, …], …] of finite numbers"
_DEEPEST_NESTING = 6


def normalized_segmentation(
    value: Any, image_size: ImageSize | None = None
) -> tuple[list[list[float]] | dict[str, Any] | None, int]:
    """Bring a segmentation into the form of the standard dataset format.

    Understood are polygons ``[[x1, y1, …], …]``, a single one that is not nested, lists of points
    ``[[x, y], …]`` in place of a polygon, further levels of brackets, arrays and tensors in place
    of lists, and COCO's run lengths, compressed or not.

    Args:
        value: the field, not null.
        image_size: (height, width) of the image, where known: run lengths must fit it.

    Returns:
        Polygons of at least three points, or run lengths whose counts are compressed, or None if
        nothing is left; and how many polygons were left out because they have fewer than three
        points or an odd number of coordinates. What needs no change is ``value`` itself.

    Raises:
        ValueError: if it cannot be understood; the message goes on after the annotation's name.
    """
    if isinstance(value, Mapping):
        return _run_lengths(value, image_size), 0
    if not isinstance(value, list | tuple):
        value = _array_to_list(value)
    if _is_list_of_polygons(value):
        return value, 0
    polygons = list(_polygons(value, _DEEPEST_NESTING))
    valid = [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]
    return valid or None, len(polygons) - len(valid)


def segmentation_box(segmentation: Sequence[Sequence[float]] | Mapping[str, Any]) -> list[float]:
    """The tight box [x, y, width, height] of a normalised segmentation, in pixels."""
    if isinstance(segmentation, Mapping):
        box: list[float] = rle_bounding_boxes([segmentation])[0].tolist()
        return box
    left = min(min(polygon[0::2]) for polygon in segmentation)
    top = min(min(polygon[1::2]) for polygon in segmentation)
    right = max(max(polygon[0::2]) for polygon in segmentation)
    bottom = max(max(polygon[1::2]) for polygon in segmentation)
    return [left, top, right - left, bottom - top]


def segmentation_area(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any], image_size: ImageSize | None
) -> float | None:
    """The set pixels of a normalised segmentation; None for polygons in an image of unknown size.

    Args:
        segmentation: polygons or run lengths.
        image_size: (height, width) of the image.
    """
    if isinstance(segmentation, Mapping):
        return float(rle_area(segmentation))
    if image_size is None:
        return None
    return float(rle_area(polygons_to_rle(segmentation, *image_size)))


def _is_list_of_polygons(value: Any) -> bool:
    """Whether nothing has to be changed; quick, as nearly all segmentations are so."""
    total = 0.0
    try:
        for polygon in value:
            if type(polygon) is not list or len(polygon) < 6 or len(polygon) % 2:
                return False
            total += sum(polygon)
    except TypeError:
        return False
    return type(value) is list and bool(value) and total - total == 0


def _array_to_list(value: Any) -> list[Any]:
    nested = plain(value)
    if not isinstance(nested, list):
        raise ValueError(
            f"has a 'segmentation' of type {type(value).__name__}; wanted {_POLYGON}, or run "
            'lengths {"size": [height, width], "counts": …}'
        )
    if len(value.shape) > 1 and all(number in (0, 1) for row in nested for number in row):
        raise ValueError(
            f"has a 'segmentation' that is a mask, got {type(value).__name__}; encode a mask array "
            "by d2_ops.host.rle_encode(mask)"
        )
    return nested


def _polygons(value: Any, levels: int) -> list[list[float]]:
    """All polygons in nested lists, in their order."""
    entries = plain(value)
    if not isinstance(entries, list | tuple) or levels == 0:
        hint = "; points are written as their numbers" if isinstance(entries, Mapping) else ""
        raise ValueError(
            f"has a 'segmentation' with {shortened(value)} in it; wanted {_POLYGON}{hint}"
        )
    entries = [plain(entry) for entry in entries]
    if not any(isinstance(entry, list | tuple | Mapping) for entry in entries):
        return [finite_numbers("segmentation", entries, _POLYGON)] if entries else []
    if all(map(_is_point, entries)):
        numbers = [number for point in entries for number in point]
        return [finite_numbers("segmentation", numbers, _POLYGON)]
    return [polygon for entry in entries for polygon in _polygons(entry, levels - 1)]


def _is_point(entry: Any) -> bool:
    """Whether a list is x and y of one point: a polygon cannot be so short."""
    return (
        isinstance(entry, list | tuple)
        and len(entry) == 2
        and not any(isinstance(plain(number), list | tuple | Mapping) for number in entry)
    )


def _run_lengths(value: Mapping[str, Any], image_size: ImageSize | None) -> dict[str, Any]:
    missing = [key for key in ("size", "counts") if value.get(key) is None]
    if missing:
        raise ValueError(
            f"has a 'segmentation' that is an object without {' and '.join(map(repr, missing))}: "
            f'it has {sorted(map(str, value))[:8]}; run lengths are {{"size": [height, width], '
            '"counts": …}'
        )
    height, width = _mask_size(value["size"])
    counts = plain(value["counts"])
    compressed = isinstance(counts, str | bytes)
    if not compressed:
        counts = _lengths(counts, height, width)
    if image_size is not None and (height, width) != tuple(image_size):
        raise ValueError(
            f"has a mask of {height}x{width} (height x width), but its image has "
            f"{image_size[0]}x{image_size[1]}"
            + ("; height and width are exchanged" if (width, height) == tuple(image_size) else "")
        )
    if compressed and value["size"] == [height, width]:
        return value if isinstance(value, dict) else dict(value)
    try:
        return dict(rle_compress({"size": [height, width], "counts": counts}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"has run lengths that are no mask of {height}x{width}: {error}") from None


def _mask_size(size: Any) -> tuple[int, int]:
    numbers = plain(size)
    if isinstance(numbers, list | tuple) and len(numbers) == 2:
        sides = [plain(number) for number in numbers]
        if all(is_number(side) and side == int(side) and side > 0 for side in sides):
            return int(sides[0]), int(sides[1])
    raise ValueError(
        f"has a mask of the size {shortened(size)}; wanted [height, width], two positive integers"
    )


def _lengths(counts: Any, height: int, width: int) -> list[int]:
    lengths: list[Any] = counts
    if type(counts) is not list or set(map(type, counts)) - {int}:
        lengths = finite_numbers("counts", counts, "run lengths, text or bytes")
        if any(length != int(length) for length in lengths):
            raise ValueError(f"has run lengths {shortened(counts)}; wanted whole numbers from 0")
        lengths = [int(length) for length in lengths]
    if min(lengths, default=0) < 0:
        raise ValueError(f"has run lengths {shortened(counts)}; wanted whole numbers from 0")
    if sum(lengths) != height * width:
        raise ValueError(
            f"has run lengths that add up to {sum(lengths)} for a mask of {height}x{width} = "
            f"{height * width} pixels"
        )
    return lengths
