"""Looking at annotations one by one."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from d2_data.annotations import segmentation_area, segmentation_box
from d2_data.checking.content import CheckedContent, CheckedImage, CheckedObject
from d2_data.checking.findings import Finding
from d2_data.checking.polygons import crossing_themselves
from d2_ops.host import polygons_to_rles, rle_area

_TOGETHER = 512
"""Objects whose outlines are looked at together, which is quicker."""

_TOLERANCE = 1.0
"""Pixels by which boxes may reach out of the image: tools count from 0 or from 1."""

_LEAST_OVERLAP = 0.5
"""Intersection over union of a box and its mask's below which they do not belong together."""

Found = tuple[str, str]
"""A kind of finding, and its message."""


def check_objects(content: CheckedContent) -> Iterator[Finding]:
    """Look at every object and at how they go together."""
    objects = iter(content.objects)
    while some := list(islice(objects, _TOGETHER)):
        crossing = _numbers_of_crossing_polygons(some)
        for one, number, area in zip(some, crossing, mask_areas(some), strict=True):
            category = content.categories[one.category_id]
            for kind, message in _of_object(one, category, number, area):
                yield _finding(one, kind, message)
    for image in content.images.values():
        yield from _repeated_objects(image)
    yield from _lacking_masks(content)
    yield from _repeated_ids(content)


def _numbers_of_crossing_polygons(objects: list[CheckedObject]) -> list[int]:
    """How many polygons of each object cross themselves."""
    polygons, owners = [], []
    for place, one in enumerate(objects):
        segmentation = one.normal.get("segmentation")
        if isinstance(segmentation, list):
            polygons += segmentation
            owners += [place] * len(segmentation)
    crossing = crossing_themselves(polygons)
    numbers = np.bincount(np.array(owners, np.intp), crossing, minlength=len(objects))
    return [int(number) for number in numbers]


def mask_areas(objects: Sequence[CheckedObject]) -> list[float | str | None]:
    """The pixels of each object's mask; None where there is none, or the image's size is unknown.

    In place of a mask that cannot be read its error.
    """
    areas: list[float | str | None] = [None] * len(objects)
    by_size: defaultdict[Any, list[int]] = defaultdict(list)
    for place, one in enumerate(objects):
        if "segmentation" in one.normal:
            by_size[one.image.size].append(place)
    for size, places in by_size.items():
        segmentations = [objects[place].normal["segmentation"] for place in places]
        for place, area in zip(places, _areas(segmentations, size), strict=True):
            areas[place] = area
    return areas


def _areas(segmentations: list[Any], size: Any) -> list[float | str | None]:
    """At once where all can be read, which is quicker; otherwise one by one."""
    try:
        outlines = [one for one in segmentations if isinstance(one, list)]
        drawn = iter(polygons_to_rles(outlines, *size)) if size is not None else iter(())
        if size is not None:
            masks = [next(drawn) if isinstance(one, list) else one for one in segmentations]
            return [float(area) for area in rle_area(masks)]
    except (TypeError, ValueError):
        pass  # one of them: it is found below
    return [_area(one, size) for one in segmentations]


def _area(segmentation: Any, size: Any) -> float | str | None:
    try:
        return segmentation_area(segmentation, size)
    except (TypeError, ValueError) as error:
        return str(error)


def _of_object(
    one: CheckedObject, category: dict[str, Any], crossing: int, area: float | str | None
) -> Iterator[Found]:
    if one.mended:
        yield "written-otherwise", f"{', '.join(one.mended)}"
    if one.invalid_polygons:
        yield (
            "polygon-short",
            f"has {one.invalid_polygons} polygons of fewer than three points or an odd number of "
            "coordinates",
        )
    yield from _of_box(one)
    segmentation = one.normal.get("segmentation")
    if crossing:
        yield "polygon-crossing", f"has {crossing} of {len(segmentation or ())} polygons that do"
    if segmentation is not None:
        yield from _of_mask(one, segmentation, area)
    yield from _of_keypoints(one, category)


def _of_box(one: CheckedObject) -> Iterator[Found]:
    box = one.normal["bbox"]
    width, height = box[2:4]
    if width <= 0 or height <= 0:
        yield "box-degenerate", f"has the bbox {box}"
        return
    if len(box) == 5 or one.image.size is None:
        return
    over = _beyond(box, one.image.size)
    if over > _TOLERANCE:
        rows, columns = one.image.size
        yield "box-outside", f"has the bbox {box}, {over:.1f} pixels out of {columns}x{rows}"


def _beyond(box: list[float], size: tuple[int, int]) -> float:
    """By how many pixels a box reaches out of its image."""
    x, y, width, height = box
    return max(-x, -y, x + width - size[1], y + height - size[0], 0)


def _of_mask(one: CheckedObject, segmentation: Any, area: float | str | None) -> Iterator[Found]:
    if isinstance(area, str):
        yield "malformed", f"has a mask that cannot be read: {area}"
    elif area == 0:
        yield "mask-empty", "has a mask without a pixel in the image"
    elif len(one.normal["bbox"]) == 4:
        box = segmentation_box(segmentation)
        if _overlap(one.normal["bbox"], box) < _LEAST_OVERLAP:
            rounded = [round(value, 1) for value in box]
            yield "box-unlike-mask", f"has the bbox {one.normal['bbox']}, its mask {rounded}"


def _overlap(first: list[float], second: list[float]) -> float:
    """Intersection over union of two boxes; 1 where one has no area."""
    areas = [max(box[2], 0) * max(box[3], 0) for box in (first, second)]
    if not all(areas):
        return 1.0
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    return common / (sum(areas) - common)


def _of_keypoints(one: CheckedObject, category: dict[str, Any]) -> Iterator[Found]:
    names = category.get("keypoints")
    if names and "keypoints" in one.normal:
        found = len(one.normal["keypoints"]) // 3
        if found != len(names):
            declared = f"{category['name']!r} declares {len(names)}"
            yield "keypoints-differ", f"has {found} keypoints, {declared}"


def _repeated_objects(image: CheckedImage) -> Iterator[Finding]:
    alike: defaultdict[Any, list[CheckedObject]] = defaultdict(list)
    for one in image.objects:
        others = alike[(one.category_id, *one.normal["bbox"], one.is_crowd)]
        original = next((other for other in others if _says_the_same(one, other)), None)
        if original is None:
            others.append(one)
        else:
            yield _finding(one, "object-repeated", f"is the same as {original.label}")


def _says_the_same(one: CheckedObject, other: CheckedObject) -> bool:
    return all(
        one.normal.get(field) == other.normal.get(field) for field in ("segmentation", "keypoints")
    )


def _lacking_masks(content: CheckedContent) -> Iterator[Finding]:
    objects = [one for one in content.objects if not one.is_crowd]
    lacking = [one for one in objects if "segmentation" not in one.normal]
    if len(lacking) < len(objects):
        for one in lacking:
            yield _finding(one, "mask-lacking", "has no 'segmentation'")


def needs_numbers(content: CheckedContent) -> bool:
    """Whether objects lack ids, or have those that metrics mistake."""
    ids = [one.entry.get("id") for one in content.objects]
    good = [number for number in ids if type(number) is int and number > 0]
    return len({*good}) < len(ids)


def _repeated_ids(content: CheckedContent) -> Iterator[Finding]:
    if not any("id" in one.entry for one in content.objects):
        return  # dataset dicts have none
    if not needs_numbers(content):
        return
    by_id: defaultdict[Any, list[CheckedObject]] = defaultdict(list)
    for one in content.objects:
        identity = one.entry.get("id")
        by_id[identity if isinstance(identity, int | str) else None].append(one)
    for identity, objects in by_id.items():
        if identity is None:
            messages = ["has no id"] * len(objects)
        elif identity == 0:
            messages = ["has the id 0, which metrics take for none"] * len(objects)
        else:
            messages = [f"has the id of {objects[0].label}"] * len(objects)
            objects, messages = objects[1:], messages[1:]
        for one, message in zip(objects, messages, strict=True):
            yield _finding(one, "object-id-repeated", message)


def _finding(one: CheckedObject, kind: str, message: str) -> Finding:
    return Finding(kind, one.label, message, one.image.id, one.entry.get("id"))


def check_categories(content: CheckedContent) -> Iterator[Finding]:
    """Look at how categories are numbered, named and used."""
    names = Counter(category["name"] for category in content.categories.values())
    used = {one.category_id for one in content.objects}
    for identity, category in content.categories.items():
        label = f"category {category['name']!r} (id {identity!r})"
        if names[category["name"]] > 1:
            yield Finding("category-name-repeated", label, "has the name of another category")
        if identity not in used:
            yield Finding("category-empty", label, "has no objects")
    ids = sorted(content.categories, key=lambda one: (isinstance(one, str), one))
    if ids not in (list(range(1, len(ids) + 1)), list(range(len(ids)))):
        shown = ", ".join(map(str, ids[:12])) + (", …" if len(ids) > 12 else "")
        yield Finding("category-gap", "categories", f"have the ids {shown}")


def check_crowds(content: CheckedContent) -> Iterator[Finding]:
    """Is there anything that is learned from?"""
    objects = list(content.objects)
    if objects and all(one.is_crowd for one in objects):
        message = f"all {len(objects)} objects are regions of crowds, which training leaves out"
        yield Finding("all-crowds", "dataset", message)
