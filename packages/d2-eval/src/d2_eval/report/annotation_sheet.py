"""Pictures of a dataset with what is annotated in them, many on one sheet."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_config.files import write_atomically
from d2_eval.report.annotated_pictures import (
    AnnotatedPicture,
    PictureDrawer,
    annotated_pictures,
)
from d2_eval.report.captions import LINE_HEIGHT, Entry, draw_entries, lines_needed

if TYPE_CHECKING:
    from PIL.Image import Image

_BACKGROUND = (255, 255, 255)
_MARGIN = 20
_GAP = 14
_CAPTION_LINES = 2


def annotation_sheet(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    metadata: Any = None,
    *,
    columns: int = 4,
    tile_size: int = 360,
) -> Path:
    """Write a PNG with images of a dataset and what is annotated in them.

    Classes have colours, which are named below each picture. An image that cannot be read, or whose
    annotations cannot be understood, is shown as a grey field that says so.

    Args:
        path: the file to write; folders are made.
        records: dataset dicts.
        metadata: the dataset's metadata: names of the classes and of keypoints.
        columns: how many pictures stand beside each other.
        tile_size: the longer side of a picture, in pixels.

    Returns:
        The path.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if columns < 1 or tile_size < 16:
        raise ValueError(
            f"columns is at least 1 and tile_size at least 16, got {columns} and {tile_size}"
        )
    pictures = annotated_pictures(records)
    drawer = PictureDrawer(pictures, metadata, tile_size)
    columns = min(columns, len(pictures))
    rows = [pictures[first : first + columns] for first in range(0, len(pictures), columns)]
    sheet = _drawn_sheet([[(one, drawer.draw(one)) for one in row] for row in rows], drawer)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
    return Path(path)


def _drawn_sheet(rows: list[list[tuple[AnnotatedPicture, Image]]], drawer: PictureDrawer) -> Image:
    from PIL import Image, ImageDraw

    tile = max(picture.width for row in rows for _, picture in row)
    columns = max(map(len, rows))
    heights = [_row_height(row, drawer, tile) for row in rows]
    size = 2 * _MARGIN + columns * tile + (columns - 1) * _GAP, _MARGIN + sum(heights)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, (one, picture) in enumerate(row):
            x = _MARGIN + column * (tile + _GAP)
            draw_entries(draw, (x, top), [Entry(Path(one.name).name)], width=tile, lines=1)
            sheet.paste(picture, (x, top + LINE_HEIGHT))
            corner = x, top + LINE_HEIGHT + picture.height + 4
            draw_entries(draw, corner, drawer.entries(one), width=tile, lines=_CAPTION_LINES)
        top += height
    return sheet


def _row_height(
    row: Iterable[tuple[AnnotatedPicture, Image]], drawer: PictureDrawer, tile: int
) -> int:
    return max(
        LINE_HEIGHT
        + picture.height
        + 4
        + lines_needed(drawer.entries(one), tile, _CAPTION_LINES) * LINE_HEIGHT
        + _GAP
        for one, picture in row
    )
