"""What Cityscapes annotates, and how it is numbered."""

import functools
import json
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from d2_data.builtin_datasets import BUILTIN_FOLDER

__all__ = ["CityscapesLabel", "cityscapes_labels", "label_of_polygon"]

IGNORED = 255
"""The training id of what is not evaluated."""

_GROUP = "group"


@attrs.frozen
class CityscapesLabel:
    """One label.

    Attributes:
        id: in ``labelIds`` and ``instanceIds`` images; negative if it is never drawn.
        name: in polygon files.
        train_id: 0 to 18 for the evaluated ones, 255 for others.
        has_instances: whether its objects are told apart.
        supercategory: the group of evaluated labels, e.g. ``"vehicle"``.
        color: red, green and blue of evaluated labels.
    """

    id: int
    name: str
    train_id: int
    has_instances: bool
    supercategory: str | None = None
    color: tuple[int, int, int] | None = None

    @property
    def is_evaluated(self) -> bool:
        """Whether models learn it."""
        return self.train_id != IGNORED


@functools.cache
def cityscapes_labels() -> Mapping[str, CityscapesLabel]:
    """All labels by name, in the order of their ids."""
    content = json.loads((BUILTIN_FOLDER / "cityscapes.json").read_bytes())
    labels = [
        CityscapesLabel(
            id=entry["id"],
            name=entry["name"],
            train_id=train_id,
            has_instances=bool(entry["isthing"]),
            supercategory=entry["supercategory"],
            color=tuple(entry["color"]),
        )
        for train_id, entry in enumerate(content["categories"])
    ]
    labels += [
        CityscapesLabel(entry["id"], entry["name"], IGNORED, bool(entry["isthing"]))
        for entry in content["not_evaluated"]
    ]
    return MappingProxyType({x.name: x for x in sorted(labels, key=lambda label: label.id)})


def label_of_polygon(name: str) -> tuple[CityscapesLabel, bool]:
    """The label of a polygon, and whether it outlines a group of objects, as ``cargroup`` does.

    Raises:
        ValueError: if there is no such label.
    """
    labels = cityscapes_labels()
    if name in labels:
        return labels[name], False
    if name.endswith(_GROUP) and name.removesuffix(_GROUP) in labels:
        return labels[name.removesuffix(_GROUP)], True
    raise ValueError(f"there is no label {name!r} in Cityscapes, there are {list(labels)}")
