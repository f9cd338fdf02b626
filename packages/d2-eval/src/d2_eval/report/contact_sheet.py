"""Predictions beside the ground truth, many pictures on one sheet."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from d2_config.files import write_atomically
from d2_eval.report.captions import LINE_HEIGHT, Entry, draw_entries, lines_needed
from d2_eval.report.class_colors import class_colors
from d2_eval.report.picture_pairs import Objects, PicturePair, draw_objects, read_pair
from d2_structures import Instances

if TYPE_CHECKING:
    from PIL.Image import Image

_BACKGROUND = (255, 255, 255)
_MARGIN = 20
_GAP_WITHIN_PAIR = 4
_GAP_BETWEEN_PAIRS = 28
_CAPTION_LINES = 2
_SPACE_ABOVE_CAPTION = 4


def contact_sheet(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    predictions: Sequence[Instances],
    metadata: Any = None,
    *,
    score_threshold: float = 0.5,
    pairs_per_row: int = 2,
    tile_size: int = 400,
) -> Path:
    """Write a PNG with pairs of pictures: the annotations, and what the model says.

    Classes have colours, which are named below each picture, so that nothing but a score in percent
    stands in a picture; objects smaller than that have none. Pictures are enlarged or reduced until
    they fill the row.

    Args:
        path: the file to write; folders are made.
        records: dataset dicts with ``file_name`` and ``annotations``.
        predictions: of the same images, in the images' own size, on any device.
        metadata: the dataset's metadata: names of the classes and of keypoints.
        score_threshold: predictions with a lower score are not drawn.
        pairs_per_row: how many pairs stand beside each other.
        tile_size: the mean width of a picture, and the largest height, in pixels.

    Returns:
        The path.

    Raises:
        ValueError: if there is nothing to draw, the lengths differ, or a prediction is not of
            its image's size.
    """
    if len(records) != len(predictions):
        raise ValueError(f"got {len(records)} records but {len(predictions)} predictions")
    if not records:
        raise ValueError("there are no pictures to draw")
    if pairs_per_row < 1 or tile_size < 16:
        raise ValueError(
            "pairs_per_row is at least 1 and tile_size at least 16, got "
            f"{pairs_per_row} and {tile_size}"
        )
    pairs = [
        read_pair(record, instances, score_threshold)
        for record, instances in zip(records, predictions, strict=True)
    ]
    sheet = _Sheet(pairs, metadata, min(pairs_per_row, len(pairs)), tile_size)
    heading = (
        "Left: ground truth.  Right: prediction, with scores in percent "
        f"({100 * score_threshold:g} or more are shown)."
    )
    write_atomically(path, sheet.png(heading))
    return Path(path)


class _Row(NamedTuple):
    """Pairs beside each other, all pictures of the same height."""

    pairs: Sequence[PicturePair]
    top: int
    picture_height: int

    def picture_width(self, pair: PicturePair) -> int:
        """Of each of the two pictures of a pair."""
        return max(round(self.picture_height * pair.aspect), 1)


class _Sheet:
    """Where everything stands, and the drawing of it."""

    def __init__(
        self, pairs: Sequence[PicturePair], metadata: Any, pairs_per_row: int, tile_size: int
    ) -> None:
        self._metadata = metadata
        self._names: Sequence[str] = getattr(metadata, "thing_classes", None) or ()
        self._colors = class_colors([pair.classes for pair in pairs])
        pair_width = 2 * tile_size + _GAP_WITHIN_PAIR
        between = (pairs_per_row - 1) * _GAP_BETWEEN_PAIRS
        self._width = 2 * _MARGIN + pairs_per_row * pair_width + between
        self._rows: list[_Row] = []
        self._height = _MARGIN + LINE_HEIGHT + _MARGIN // 2
        for first in range(0, len(pairs), pairs_per_row):
            members = pairs[first : first + pairs_per_row]
            mean_aspect = sum(pair.aspect for pair in members) / len(members)
            picture_height = max(min(int(tile_size / mean_aspect), tile_size), 1)
            row = _Row(members, self._height, picture_height)
            self._rows.append(row)
            self._height = self._top_of_captions(row) + self._lines(row) * LINE_HEIGHT + _MARGIN

    def png(self, heading: str) -> bytes:
        """Draw the sheet; returns the content of a PNG file."""
        from PIL import Image, ImageDraw

        sheet = Image.new("RGB", (self._width, self._height), _BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        width = self._width - 2 * _MARGIN
        draw_entries(draw, (_MARGIN, _MARGIN), [Entry(heading)], width=width, lines=1)
        for row in self._rows:
            x = _MARGIN
            for pair in row.pairs:
                width = row.picture_width(pair)
                name = Entry(Path(pair.file_name).name)
                draw_entries(draw, (x, row.top), [name], width=2 * width, lines=1)
                for objects in (pair.truth, pair.found):
                    sheet.paste(self._picture(row, pair, objects), (x, row.top + LINE_HEIGHT))
                    corner = (x, self._top_of_captions(row))
                    entries = self._entries(objects)
                    draw_entries(draw, corner, entries, width=width, lines=_CAPTION_LINES)
                    x += width + _GAP_WITHIN_PAIR
                x += _GAP_BETWEEN_PAIRS - _GAP_WITHIN_PAIR
        buffer = io.BytesIO()
        sheet.save(buffer, format="PNG")
        return buffer.getvalue()

    def _top_of_captions(self, row: _Row) -> int:
        return row.top + LINE_HEIGHT + row.picture_height + _SPACE_ABOVE_CAPTION

    def _lines(self, row: _Row) -> int:
        """Of the longest caption."""
        return max(
            lines_needed(self._entries(objects), row.picture_width(pair), _CAPTION_LINES)
            for pair in row.pairs
            for objects in (pair.truth, pair.found)
        )

    def _picture(self, row: _Row, pair: PicturePair, objects: Objects) -> Image:
        from PIL import Image

        size = (row.picture_height, row.picture_width(pair))
        drawn = draw_objects(pair.image_rgb, objects, self._colors, size, self._metadata)
        return Image.fromarray(drawn)

    def _entries(self, objects: Objects) -> list[Entry]:
        """The colours, names and counts of the classes, the most frequent first."""
        counts = Counter(objects.classes)
        entries = [
            Entry(self._name(label) + (f" {count}" if count > 1 else ""), self._colors[label])
            for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        return entries or [Entry("nothing")]

    def _name(self, label: int) -> str:
        return str(self._names[label]) if 0 <= label < len(self._names) else str(label)
