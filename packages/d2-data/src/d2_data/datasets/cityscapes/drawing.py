"""Maps of labels, drawn from Cityscapes' polygons as its own tools draw them.

Polygons are drawn in the order of the file, so that later ones cover earlier ones. Their corners
are pixels, and the pixels of the outline belong to a polygon: Pillow draws in just this way.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
from PIL import Image, ImageDraw

from d2_data.annotations.plain_values import finite_numbers, shortened
from d2_data.datasets.cityscapes.labels import IGNORED, CityscapesLabel, label_of_polygon
from d2_data.file_entries import list_of_objects, required, text, whole
from d2_data.formats import read_json
from d2_data.located_errors import located

__all__ = ["CityscapesPolygons", "draw_instance_ids", "draw_train_ids", "read_polygons"]

_LONGEST_SIDE = 1 << 16


@attrs.frozen
class CityscapesPolygons:
    """What a polygon file holds.

    Attributes:
        image_size: (height, width) in pixels.
        objects: label, whether it is a group, and the corners x, y, in the order of drawing.
    """

    image_size: tuple[int, int]
    objects: tuple[tuple[CityscapesLabel, bool, tuple[tuple[float, float], ...]], ...]


def read_polygons(file: str | os.PathLike[str]) -> CityscapesPolygons:
    """Read a ``…_polygons.json``; deleted objects are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is malformed; the message names the object.
    """
    content = read_json(file, expected_keys=("imgHeight", "imgWidth", "objects"))
    where = f"annotation file {os.fspath(file)!r}"
    with located(where):
        height, width = (whole(content, key, "pixels") for key in ("imgHeight", "imgWidth"))
        if min(height, width) < 1 or max(height, width) > _LONGEST_SIDE:
            raise ValueError(f"has an image of {width}x{height} pixels; correct its size")
        entries = list_of_objects(content, "objects")
    return CityscapesPolygons((height, width), tuple(_objects(entries, where)))


def _objects(entries: list[dict[str, Any]], where: str) -> Iterator[Any]:
    for number, entry in enumerate(entries):
        if entry.get("deleted"):
            continue
        with located(f"{where}: object {number}"):
            label, is_group = label_of_polygon(text(entry, "label"))
            corners = _corners(required(entry, "polygon"))
        yield label, is_group, corners


def _corners(polygon: Any) -> tuple[tuple[float, float], ...]:
    points = polygon if isinstance(polygon, list) else []
    # Pillow draws a line for two points, as Cityscapes' tools do.
    if len(points) < 2 or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError(f"has 'polygon' {shortened(polygon)}; wanted at least two points [x, y]")
    flat = finite_numbers("polygon", [number for point in points for number in point], "numbers")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def draw_train_ids(polygons: CityscapesPolygons) -> np.ndarray:
    """Draw the classes that models learn, as in ``…_labelTrainIds.png``.

    Returns:
        (H, W) uint8: 0 to 18, and 255 for what is not evaluated.
    """
    drawn = _draw(polygons, "L", IGNORED, lambda label, is_group: label.train_id)
    return drawn.astype(np.uint8, copy=False)


def draw_instance_ids(polygons: CityscapesPolygons) -> np.ndarray:
    """Draw the objects, as in ``…_instanceIds.png``.

    Returns:
        (H, W) int32: the label's id times 1000 plus the object's number among those of its label,
        or the label's id alone where objects are not told apart, groups among them.
    """
    counts: Counter[int] = Counter()

    def value(label: CityscapesLabel, is_group: bool) -> int:
        if not label.has_instances or is_group:
            return label.id
        counts[label.id] += 1
        return label.id * 1000 + counts[label.id] - 1

    return _draw(polygons, "I", 0, value).astype(np.int32, copy=False)


def _draw(
    polygons: CityscapesPolygons,
    mode: str,
    background: int,
    value: Callable[[CityscapesLabel, bool], int],
) -> np.ndarray:
    height, width = polygons.image_size
    picture = Image.new(mode, (width, height), background)
    drawer = ImageDraw.Draw(picture)
    for label, is_group, corners in polygons.objects:
        # Numbers are given away before it is known whether anything is drawn.
        fill = value(label, is_group)
        if label.id >= 0:
            drawer.polygon(corners, fill=fill)
    return np.asarray(picture)
