"""Predictions beside the ground truth, many pictures on one sheet."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from d2_config.atomic_file import write_atomically
from d2_data.detection_utils import read_image
from d2_structures import Instances

if TYPE_CHECKING:
    from PIL.Image import Image

_BACKGROUND = (246, 246, 246)
_INK = (40, 40, 40)
_GAP = 8
_CAPTION_HEIGHT = 18
_DRAWN_KEYS = ("file_name", "annotations", "height", "width", "image_id")


def contact_sheet(
    path: str | os.PathLike[str],
    records: Sequence[Mapping[str, Any]],
    predictions: Sequence[Instances],
    metadata: Any = None,
    *,
    score_threshold: float = 0.5,
    pairs_per_row: int = 3,
    tile_size: int = 256,
) -> Path:
    """Write a PNG with pairs of pictures: the annotations, and what the model says.

    Args:
        path: the file to write; folders are made.
        records: dataset dicts with ``file_name`` and ``annotations``.
        predictions: of the same images, in the images' own size, on any device.
        metadata: the dataset's metadata: names of the classes and, with ``thing_colors``, their
            colours.
        score_threshold: predictions with a lower score are not drawn.
        pairs_per_row: how many pairs stand beside each other.
        tile_size: pixels of the longer side of each picture; smaller images are enlarged.

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
        _draw_pair(record, instances, metadata, score_threshold, tile_size)
        for record, instances in zip(records, predictions, strict=True)
    ]
    sheet = _arrange(pairs, min(pairs_per_row, len(pairs)), tile_size)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
    return Path(path)


def _draw_pair(
    record: Mapping[str, Any],
    instances: Instances,
    metadata: Any,
    score_threshold: float,
    tile_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Two (h, w, 3) uint8 RGB pictures whose longer side is ``tile_size``."""
    from d2_structures.visualizer import ColorMode, Visualizer

    image = read_image(record["file_name"], format="RGB")
    if tuple(instances.image_size) != image.shape[:2]:
        raise ValueError(
            f"the predictions for {record['file_name']} are for (height, width) "
            f"{tuple(instances.image_size)}, the image has {image.shape[:2]}"
        )
    scale = tile_size / max(image.shape[:2])
    confident = instances.to("cpu")
    confident = confident[confident.scores >= score_threshold]
    annotated = {key: record[key] for key in _DRAWN_KEYS if key in record}
    # Colours that belong to the classes make the two pictures comparable at a glance.
    has_colours = getattr(metadata, "thing_colors", None) is not None
    mode = ColorMode.SEGMENTATION if has_colours else ColorMode.IMAGE
    truth = Visualizer(image, metadata, scale, mode).draw_dataset_dict(annotated)
    found = Visualizer(image, metadata, scale, mode).draw_instance_predictions(confident)
    return truth.get_image(), found.get_image()


def _arrange(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], pairs_per_row: int, tile_size: int
) -> Image:
    from PIL import Image, ImageDraw

    rows = [pairs[i : i + pairs_per_row] for i in range(0, len(pairs), pairs_per_row)]
    row_heights = [max(tile.shape[0] for pair in row for tile in pair) for row in rows]
    pair_width = 2 * tile_size + 2
    width = pairs_per_row * (pair_width + _GAP) + _GAP
    height = _CAPTION_HEIGHT + sum(row_heights) + (len(rows) + 1) * _GAP
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column in range(pairs_per_row):
        x = _GAP + column * (pair_width + _GAP)
        draw.text((x, _GAP // 2), "ground truth", fill=_INK)
        draw.text((x + tile_size + 2, _GAP // 2), "prediction", fill=_INK)
    y = _CAPTION_HEIGHT + _GAP
    for row, row_height in zip(rows, row_heights, strict=True):
        for column, pair in enumerate(row):
            x = _GAP + column * (pair_width + _GAP)
            for side, tile in enumerate(pair):
                sheet.paste(Image.fromarray(tile), (x + side * (tile_size + 2), y))
        y += row_height + _GAP
    return sheet
