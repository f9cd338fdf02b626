"""Images of a dataset with what is annotated in them, each in the size of a tile."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from d2_data.annotations import normalized_record
from d2_data.detection_utils import read_image
from d2_eval.report.captions import LINE_HEIGHT, Entry, draw_entries
from d2_eval.report.class_colors import class_colors
from d2_eval.report.picture_pairs import Objects, annotated_objects, draw_objects

if TYPE_CHECKING:
    from PIL.Image import Image

_TROUBLE = (236, 232, 230)


@attrs.frozen(eq=False)
class AnnotatedPicture:
    """An image of a dataset, or why it cannot be shown.

    Attributes:
        name: of its file.
        record: of the dataset.
        objects: that are annotated.
        trouble: why it cannot be shown, or None.
    """

    name: str
    record: Mapping[str, Any]
    objects: Objects
    trouble: str | None = None

    @property
    def counts(self) -> list[tuple[int, int]]:
        """Classes and how many objects they have, the most frequent first."""
        counts = Counter(self.objects.classes)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def annotated_pictures(records: Sequence[Mapping[str, Any]]) -> list[AnnotatedPicture]:
    """What dataset dicts say, as far as it can be understood.

    Raises:
        ValueError: if there are none.
    """
    if not records:
        raise ValueError("there are no pictures to draw")
    return [_annotated_picture(record) for record in records]


def _annotated_picture(record: Mapping[str, Any]) -> AnnotatedPicture:
    name = str(record.get("file_name", record.get("image_id", "")))
    try:
        normal = normalized_record(dict(record))
        return AnnotatedPicture(name, normal, annotated_objects(normal.get("annotations", ())))
    except (KeyError, TypeError, ValueError) as error:
        return AnnotatedPicture(name, record, Objects((), ()), str(error))


class PictureDrawer:
    """Draws pictures in colours that are the same in all of them.

    Args:
        pictures: all that are drawn.
        metadata: of the dataset: names of the classes and of keypoints.
        tile_size: the longer side of a drawn picture, in pixels.

    Attributes:
        colors: of the classes.
    """

    def __init__(self, pictures: Sequence[AnnotatedPicture], metadata: Any, tile_size: int) -> None:
        self._metadata = metadata
        self._names: Sequence[str] = getattr(metadata, "thing_classes", None) or ()
        self._tile_size = tile_size
        self.colors = class_colors([{*one.objects.classes} for one in pictures])

    def name(self, label: int) -> str:
        """Of a class; its number where the metadata have none."""
        return str(self._names[label]) if 0 <= label < len(self._names) else str(label)

    def draw(self, one: AnnotatedPicture) -> Image:
        """The picture, its longer side of the size of a tile."""
        from PIL import Image

        if one.trouble is None:
            try:
                return Image.fromarray(self._drawn(one))
            except (KeyError, OSError, TypeError, ValueError) as error:
                return self._field(str(error))
        return self._field(one.trouble)

    def _drawn(self, one: AnnotatedPicture) -> np.ndarray:
        image = read_image(one.record["file_name"], format="RGB")
        height, width = image.shape[:2]
        scale = self._tile_size / max(height, width)
        size = max(round(height * scale), 1), max(round(width * scale), 1)
        if "annotations" in one.record:
            return draw_objects(image, one.objects, self.colors, size, self._metadata)
        from d2_structures.visualizer import Visualizer

        visualizer = Visualizer(image, self._metadata, scale)
        return visualizer.draw_dataset_dict(dict(one.record)).get_image()

    def _field(self, text: str) -> Image:
        from PIL import Image, ImageDraw

        width, height = self._tile_size, self._tile_size * 3 // 4
        field = Image.new("RGB", (width, height), _TROUBLE)
        room = max((height - 16) // LINE_HEIGHT, 1)
        lines = textwrap.wrap(text, max(width // 8, 8))[:room]
        draw = ImageDraw.Draw(field)
        for number, line in enumerate(lines):
            corner = 8, 8 + number * LINE_HEIGHT
            draw_entries(draw, corner, [Entry(line)], width=width - 16, lines=1)
        return field

    def entries(self, one: AnnotatedPicture) -> list[Entry]:
        """The colours, names and counts of a picture's classes, the most frequent first."""
        entries = [
            Entry(self.name(label) + (f" {count}" if count > 1 else ""), self.colors[label])
            for label, count in one.counts
        ]
        return entries or [Entry("nothing" if one.trouble is None else "")]
