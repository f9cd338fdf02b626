"""Structures as trees of tensors: how PyTorch takes them apart and puts them together.

`torch.export`, `torch.func` and parallel modules look for tensors in what goes in and comes out;
what they do not know, they take for one value. `torch.export.save` writes the names that are given
here, which therefore stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.utils._pytree import GetAttrKey, register_pytree_node

from .bit_masks import BitMasks
from .boxes import Boxes
from .image_list import ImageList
from .instances import Instances
from .keypoints import Keypoints
from .roi_masks import ROIMasks
from .rotated_boxes import RotatedBoxes

__all__ = ["register_structures"]


def register_structures() -> None:
    """Tell PyTorch how `Boxes`, `Instances` and others are made of tensors; once in a process.

    Importing the package does it. The parts of `Instances` are its fields and its image size, those
    of an `ImageList` its tensor and the sizes of its images. What `Instances.with_image` added is
    no part. Instances of subclasses stay single values. Parts are put together unchecked: they may
    be what stands for tensors while a graph is recorded.
    """
    for kind in (Boxes, RotatedBoxes, BitMasks, Keypoints, ROIMasks):
        _register(kind, lambda holder: {"tensor": holder.tensor})
    _register(ImageList, lambda images: {name: getattr(images, name) for name in _OF_IMAGES})
    _register(Instances, lambda found: {**found._fields, "image_size": found._image_size})


_OF_IMAGES = ("tensor", "image_sizes")


def _register(kind: type[Any], parts_of: Callable[[Any], dict[str, Any]]) -> None:
    def flatten(structure: Any) -> tuple[list[Any], tuple[str, ...]]:
        parts = parts_of(structure)
        return list(parts.values()), tuple(parts)

    def flatten_with_keys(structure: Any) -> tuple[list[Any], tuple[str, ...]]:
        parts = parts_of(structure)
        return [(GetAttrKey(name), part) for name, part in parts.items()], tuple(parts)

    def unflatten(values: Iterable[Any], names: tuple[str, ...]) -> Any:
        structure = object.__new__(kind)
        parts = dict(zip(names, values, strict=True))
        if kind is Instances:
            structure._image_size = parts.pop("image_size")
            structure._fields = parts
        else:
            vars(structure).update(parts)
        return structure

    register_pytree_node(
        kind,
        flatten,
        unflatten,
        serialized_type_name=f"d2_structures.{kind.__name__}",
        to_dumpable_context=list,
        from_dumpable_context=tuple,
        flatten_with_keys_fn=flatten_with_keys,
    )


# What is registered is found by type, wherever in a program its first tree is taken apart.
register_structures()
