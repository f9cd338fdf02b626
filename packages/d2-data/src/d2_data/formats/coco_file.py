"""The content of annotation files in COCO's format.

Source: https://cocodataset.org/#format-data
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2_config.files import write_atomically

__all__ = ["CocoFile"]


class CocoFile:
    """Collects images and what is annotated in them; then writes the file.

    Args:
        categories: each with ``id`` and ``name``; in panoptic files also ``isthing``.
        info: what the file says of itself, e.g. ``{"description": …}``.
    """

    def __init__(
        self, categories: Sequence[Mapping[str, Any]], info: Mapping[str, Any] | None = None
    ) -> None:
        self.categories: list[dict[str, Any]] = [dict(category) for category in categories]
        self.info: dict[str, Any] = dict(info or {})
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add_image(
        self, file_name: str, image_size: tuple[int, int], image_id: Any = None, **more: Any
    ) -> Any:
        """Add an image.

        Args:
            file_name: as written into the file.
            image_size: (height, width) in pixels.
            image_id: None numbers the images from 1.
            **more: further entries, e.g. ``license``.

        Returns:
            The image's id.
        """
        height, width = map(int, image_size)
        identity = len(self.images) + 1 if image_id is None else image_id
        entry = {"id": identity, "file_name": file_name, "height": height, "width": width}
        self.images.append(entry | more)
        return identity

    def add_annotation(self, image_id: Any, category_id: Any, entries: Mapping[str, Any]) -> int:
        """Add an instance; instances are numbered from 1, as COCO's metrics need it.

        Args:
            image_id: of its image.
            category_id: of its category, as the file declares it.
            entries: ``bbox``, ``segmentation`` … as :func:`~d2_data.formats.coco_annotation`
                makes them; in a file of predictions also ``score``.

        Returns:
            The annotation's id.
        """
        number = len(self.annotations) + 1
        place = {"id": number, "image_id": image_id, "category_id": category_id}
        self.annotations.append(place | dict(entries))
        return number

    def add_segments(
        self, image_id: Any, file_name: str, segments: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add the panoptic segments of one image.

        Args:
            image_id: of the image.
            file_name: of the PNG that holds their ids.
            segments: each with ``id``, ``category_id``, ``area``, ``bbox`` and ``iscrowd``.
        """
        self.annotations.append(
            {
                "image_id": image_id,
                "file_name": file_name,
                "segments_info": [dict(segment) for segment in segments],
            }
        )

    def content(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "info": self.info,
            "licenses": [],
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file whole or not at all; missing folders are made."""
        text = json.dumps(self.content(), separators=(",", ":"), default=_plain)
        write_atomically(path, text)


def _plain(value: Any) -> Any:
    """A NumPy number or array as JSON knows it."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{value!r:.100} of type {type(value).__name__} cannot be written as JSON")
