"""A part of a dataset on its way from one format to another."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from d2_data.catalog import Metadata

__all__ = ["Split", "relative_names", "with_common_classes"]

_KEYPOINTS = ("keypoint_names", "keypoint_flip_map", "keypoint_connection_rules")


@attrs.frozen
class Split:
    """Images with what is annotated in them.

    Attributes:
        name: e.g. ``"train"``.
        records: in the standard dataset format, with ``height`` and ``width``.
        metadata: with ``thing_classes``.
    """

    name: str
    records: Sequence[Mapping[str, Any]]
    metadata: Metadata

    @property
    def classes(self) -> list[str]:
        """Names of the classes.

        Raises:
            ValueError: if the dataset has none.
        """
        names = self.metadata.get("thing_classes")
        if not names:
            raise ValueError(
                f"dataset {self.metadata.name!r} has no 'thing_classes' in its metadata, so it has "
                "no objects to convert"
            )
        return list(names)


def with_common_classes(splits: Sequence[Split]) -> list[Split]:
    """Splits whose classes are the same, in the same order.

    Where they differ, a class of one split becomes that of the same name; the classes of later
    splits are added behind those of earlier ones, and their ids count from 1.

    Raises:
        ValueError: if two classes of a split share a name while splits differ, or the splits have
            different keypoints.
    """
    first, *others = splits
    for split in others:
        for key in _KEYPOINTS:
            if split.metadata.get(key) != first.metadata.get(key):
                raise ValueError(
                    f"the splits {first.name!r} and {split.name!r} differ in {key}; convert them "
                    "one by one"
                )
    if all(_categories(split) == _categories(first) for split in others):
        return list(splits)
    names = list(dict.fromkeys(name for split in splits for name in split.classes))
    place = {name: index for index, name in enumerate(names)}
    return [_renumbered(split, names, place) for split in splits]


def _categories(split: Split) -> tuple[Any, ...]:
    return split.classes, split.metadata.get("thing_dataset_id_to_contiguous_id")


def _renumbered(split: Split, names: list[str], place: Mapping[str, int]) -> Split:
    classes = split.classes
    if len(set(classes)) < len(classes):
        repeated = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(
            f"split {split.name!r} has several classes named {repeated!r}, and other splits have "
            "other classes, so they cannot be told apart by name; rename them"
        )
    records = [
        {
            **record,
            "annotations": [
                {**annotation, "category_id": place[classes[annotation["category_id"]]]}
                for annotation in record.get("annotations", ())
            ],
        }
        for record in split.records
    ]
    kept = {
        key: value
        for key, value in split.metadata.as_dict().items()
        if key in (*_KEYPOINTS, "name", "image_root")
    }
    ids = {index + 1: index for index in range(len(names))}
    metadata = Metadata(**kept, thing_classes=names, thing_dataset_id_to_contiguous_id=ids)
    return Split(split.name, records, metadata)


def relative_names(split: Split) -> list[str]:
    """Paths of the images below the folder that holds all of them, with forward slashes.

    That folder is the ``image_root`` of the metadata, or else the innermost one.

    Raises:
        ValueError: if two images have the same path but for their extension: their annotations
            would have the same name.
    """
    files = [os.path.abspath(record["file_name"]) for record in split.records]
    if not files:
        return []
    root = _root(files, split.metadata.get("image_root"))
    names = [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    seen: dict[str, str] = {}
    for name in names:
        stem = str(Path(name).with_suffix(""))
        if stem in seen:
            raise ValueError(
                f"the images {seen[stem]!r} and {name!r} of split {split.name!r} have the same "
                "name, so their annotations would too; rename one"
            )
        seen[stem] = name
    return names


def _root(files: Sequence[str], image_root: Any) -> str:
    if image_root is not None:
        root = os.path.abspath(image_root)
        if all(file.startswith(os.path.join(root, "")) for file in files):
            return root
    return os.path.commonpath([os.path.dirname(file) for file in files])
