"""How many objects there are, of which classes and sizes."""

import math
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import attrs

from d2_data.checking.content import CheckedContent

_COCO_SIZES = (("small", 32.0**2), ("medium", 96.0**2), ("large", math.inf))
_SIDE_STEPS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)


@attrs.frozen
class Statistics:
    """What a dataset consists of.

    Attributes:
        images: how many there are.
        objects: how many that are no crowds.
        crowds: how many regions of crowds.
        objects_per_class: by the names of classes, in the order of their ids; of classes that
            share a name the id stands behind it.
        objects_per_size: by COCO's sizes, small below 32², medium below 96² square pixels.
        objects_per_side: by the square root of the box's area in pixels; each key is the range.
        objects_per_image: how many images have so many objects.
        image_sizes: how many images have so many pixels, "width x height", the most frequent first.
    """

    images: int
    objects: int
    crowds: int
    objects_per_class: dict[str, int]
    objects_per_size: dict[str, int]
    objects_per_side: dict[str, int]
    objects_per_image: dict[str, int]
    image_sizes: dict[str, int]


def statistics_of(content: CheckedContent) -> Statistics:
    """Count what a dataset consists of."""
    objects = [one for one in content.objects if not one.is_crowd]
    areas = [max(one.normal["bbox"][2], 0) * max(one.normal["bbox"][3], 0) for one in objects]
    by_class = Counter(one.category_id for one in objects)
    sizes = Counter(
        f"{image.width} x {image.height}" for image in content.images.values() if image.size
    )
    return Statistics(
        images=len(content.images),
        objects=len(objects),
        crowds=sum(one.is_crowd for one in content.objects),
        objects_per_class={
            name: by_class[identity] for identity, name in _class_names(content).items()
        },
        objects_per_size=_in_ranges(areas, _COCO_SIZES),
        objects_per_side=_in_ranges(map(math.sqrt, areas), _ranges(_SIDE_STEPS)),
        objects_per_image=_in_ranges(
            (float(len(image.objects)) for image in content.images.values()), _NUMBERS
        ),
        image_sizes=dict(sizes.most_common(20)),
    )


def _class_names(content: CheckedContent) -> dict[object, str]:
    ordered = sorted(content.categories, key=lambda one: (isinstance(one, str), one))
    counts = Counter(content.categories[identity]["name"] for identity in ordered)
    names = {identity: content.categories[identity]["name"] for identity in ordered}
    return {
        identity: name if counts[name] == 1 else f"{name} (id {identity})"
        for identity, name in names.items()
    }


def _ranges(steps: Iterable[int]) -> tuple[tuple[str, float], ...]:
    """Names and upper limits of the ranges between steps."""
    edges = [0, *steps]
    between = [(f"{low}-{high}", float(high)) for low, high in pairwise(edges)]
    return (*between, (f"{edges[-1]}-", math.inf))


_NUMBERS = (
    *((str(number), number + 1.0) for number in range(6)),
    ("6-10", 11.0),
    ("11-20", 21.0),
    ("21-50", 51.0),
    ("51-100", 101.0),
    ("101-", math.inf),
)


def _in_ranges(values: Iterable[float], ranges: tuple[tuple[str, float], ...]) -> dict[str, int]:
    """How many values are below the limit of each range, and not of the one before."""
    counts = dict.fromkeys((name for name, _ in ranges), 0)
    for value in values:
        counts[next(name for name, limit in ranges if value < limit)] += 1
    return counts
