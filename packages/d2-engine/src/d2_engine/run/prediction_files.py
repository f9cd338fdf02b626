"""What a model found in pictures, as COCO's annotation files and as maps of labels."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from d2_config.files import write_atomically
from d2_data import Metadata
from d2_data.annotations import plain_id
from d2_data.formats import CocoFile, encode_panoptic_png
from d2_eval import instances_to_coco_json
from d2_structures import Instances

INSTANCES = "predictions.json"
PANOPTIC = "panoptic.json"
PANOPTIC_FOLDER = "panoptic"
SEMANTIC_FOLDER = "semantic"


class PredictionFiles:
    """Collect the predictions of pictures and write them into a folder.

    ==================  =========================================================
    predictions.json    instances: COCO's annotation format, with scores
    panoptic.json       segments: COCO's panoptic format; with ``panoptic/*.png``
    semantic/*.png      the class of each pixel, 8 bits (16 above 256 classes)
    ==================  =========================================================

    Categories have the ids of the dataset that the model is for, where its metadata has them.

    Args:
        folder: where to write.
        metadata: of the data that the model is for.
    """

    def __init__(self, folder: str | os.PathLike[str], metadata: Metadata) -> None:
        self._folder = Path(folder)
        self._instances = _InstanceAnnotations(metadata)
        self._segments = _SegmentAnnotations(metadata)

    def add(
        self, file_name: str, name: str, size: tuple[int, int], outputs: Any, **more: Any
    ) -> None:
        """Take in what a model found in one picture.

        Args:
            file_name: of the picture.
            name: of the files with its maps, without suffix.
            size: height and width of the picture.
            outputs: of the model; ``instances`` (on the CPU), ``panoptic_seg`` and ``sem_seg`` are
                looked at.
            more: further values of the picture's entry.
        """
        for part in (self._instances, self._segments):
            image_id = part.file.add_image(file_name, size, **more)
        if "instances" in outputs:
            self._instances.add(outputs["instances"], image_id)
        if "panoptic_seg" in outputs:
            png, segments = self._segments.made_of(*outputs["panoptic_seg"])
            self._segments.file.add_segments(image_id, f"{name}.png", segments)
            write_atomically(self._folder / PANOPTIC_FOLDER / f"{name}.png", png)
        elif "sem_seg" in outputs:
            write_atomically(
                self._folder / SEMANTIC_FOLDER / f"{name}.png", _label_png(outputs["sem_seg"])
            )

    def write(self) -> None:
        """Write the JSON files."""
        self._instances.finish().write(self._folder / INSTANCES)
        if self._segments.file.annotations:
            self._segments.file.write(self._folder / PANOPTIC)


class _InstanceAnnotations:
    """Instances as annotations of COCO's format, with scores."""

    def __init__(self, metadata: Metadata) -> None:
        self.file = CocoFile([])
        self._ids = _dataset_ids(metadata, "thing")
        self._names = metadata.get("thing_classes") or []
        self._seen: set[int] = set()

    def add(self, instances: Instances, image_id: int) -> None:
        for annotation in instances_to_coco_json(instances, image_id):
            label = annotation["category_id"]
            self._seen.add(label)
            category = self._ids.get(label, label)
            self.file.add_annotation(image_id, category, annotation | {"category_id": category})

    def finish(self) -> CocoFile:
        """The file with its categories: those of the metadata, or else those that were found."""
        labels = range(len(self._names)) if self._names else sorted(self._seen)
        self.file.categories = [
            {
                "id": self._ids.get(label, label),
                "name": self._names[label] if self._names else str(label),
            }
            for label in labels
        ]
        return self.file


class _SegmentAnnotations:
    """Panoptic segments as annotations of COCO's panoptic format."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._names = {
            True: metadata.get("thing_classes") or [],
            False: metadata.get("stuff_classes") or [],
        }
        self._ids = {True: _dataset_ids(metadata, "thing"), False: _dataset_ids(metadata, "stuff")}
        # Without ids of a dataset, those of stuff follow those of things.
        self._first = {True: 0, False: 0 if self._ids[False] else len(self._names[True])}
        self.file = CocoFile(self._categories())

    def made_of(
        self, ids: torch.Tensor, segments: Sequence[Mapping[str, Any]] | None
    ) -> tuple[bytes, list[dict[str, Any]]]:
        """Return the PNG with the ids, and the segments."""
        array = ids.cpu().numpy().astype(np.int64)
        if segments is None:
            array, segments = self._described(array)
        known = [segment["id"] for segment in segments]
        areas = {key: int((array == key).sum()) for key in known}
        infos = [
            {
                "id": int(segment["id"]),
                "category_id": self._category_id(segment),
                "isthing": bool(segment.get("isthing", True)),
                "area": areas[segment["id"]],
                "iscrowd": 0,
            }
            for segment in segments
        ]
        png = encode_panoptic_png(np.where(np.isin(array, known), array, 0))
        return png, infos

    def _categories(self) -> list[dict[str, Any]]:
        """All classes that have a name and, where the dataset has ids, one of those."""
        return [
            {"id": self._id(is_thing, label), "name": name, "isthing": int(is_thing)}
            for is_thing, names in self._names.items()
            for label, name in enumerate(names)
            if not self._ids[is_thing] or label in self._ids[is_thing]
        ]

    def _category_id(self, segment: Mapping[str, Any]) -> Any:
        return self._id(bool(segment.get("isthing", True)), int(segment["category_id"]))

    def _id(self, is_thing: bool, label: int) -> Any:
        return self._ids[is_thing].get(label, self._first[is_thing] + label)

    def _described(self, ids: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Ids above 0 with their segments, from ids that hold the class; −1 is void."""
        divisor = self._metadata.get("label_divisor")
        if divisor is None:
            raise ValueError(
                "the model gives panoptic segments without segments_info, and the metadata of "
                f"{self._metadata.name!r} has no label_divisor to tell their classes by"
            )
        segments = [
            {
                "id": number + 1,
                "category_id": number // divisor,
                "isthing": not self._ids[True] or number // divisor in self._ids[True],
            }
            for number in np.unique(ids[ids >= 0]).tolist()
        ]
        return ids + 1, segments


def _dataset_ids(metadata: Metadata, kind: str) -> dict[int, Any]:
    """The dataset's category id, number or text, of each of the model's labels that have one."""
    known = metadata.get(f"{kind}_dataset_id_to_contiguous_id") or {}
    return {int(label): plain_id(dataset_id) for dataset_id, label in known.items()}


def _label_png(scores: torch.Tensor) -> bytes:
    """The class of each pixel, from (C, H, W) scores."""
    labels = scores.argmax(dim=0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8 if len(scores) <= 256 else np.uint16)).save(file, "PNG")
    return file.getvalue()
