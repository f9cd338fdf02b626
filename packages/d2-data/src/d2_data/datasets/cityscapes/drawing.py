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

from d2_data.datasets.cityscapes.labels import IGNORED, CityscapesLabel, label_of_polygon
from d2_data.formats import read_json

__all__ = ["CityscapesPolygons", "draw_instance_ids", "draw_train_ids", "read_polygons"]


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
    return CityscapesPolygons(
        image_size=(int(content["imgHeight"]), int(content["imgWidth"])),
        objects=tuple(_objects(content["objects"], where)),
    )


def _objects(entries: list[dict[str, Any]], where: str) -> Iterator[Any]:
    for number, entry in enumerate(entries):
        if entry.get("deleted"):
            continue
        try:
            label, is_group = label_of_polygon(entry["label"])
            corners = tuple((float(x), float(y)) for x, y in entry["polygon"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{where}: object {number} cannot be read ({type(error).__name__}: {error}); it "
                "needs a 'label' and a 'polygon' of points [x, y]"
            ) from error
        if len(corners) < 2:  # Pillow draws a line for two, as Cityscapes' tools do
            raise ValueError(f"{where}: object {number} has {len(corners)} points; remove it")
        yield label, is_group, corners


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
