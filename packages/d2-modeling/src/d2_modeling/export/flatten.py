"""What models take and give as a tuple of tensors, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2_structures import (
    BitMasks,
    Boxes,
    ImageList,
    Instances,
    Keypoints,
    ROIMasks,
    RotatedBoxes,
)

__all__ = ["Schema", "flatten_to_tuple"]


@dataclass(frozen=True)
class Schema:
    """How an object is put together from the flat values of its parts.

    Schemas are equal where the objects are alike in structure: in types, keys and field names,
    and in the lengths of lists, but not in the shapes of tensors.

    Attributes:
        kind: the object's type; `torch.Tensor` for all tensors.
        keys: for each part its key, field name or position.
        parts: the schemas of the parts. What cannot be taken apart has none.
    """

    kind: type
    keys: tuple[Any, ...] = ()
    parts: tuple[Schema, ...] = ()

    def __call__(self, values: Sequence[Any]) -> Any:
        """Put an object together.

        Args:
            values: what `flatten_to_tuple` gave for an object like it, or other tensors with
                these meanings, as `torch.jit.trace` gives them.

        Raises:
            ValueError: if there are more or fewer values than an object like this has.
        """
        wanted = self.num_values
        if len(values) != wanted:
            raise ValueError(f"this schema takes {wanted} values, got {len(values)}")
        return self._built(iter(values))

    @property
    def num_values(self) -> int:
        """The number of values that an object is flattened to."""
        if _form_of(self.kind) is None:
            return 1
        return sum(part.num_values for part in self.parts)

    def paths(self, name: str) -> Iterator[str]:
        """For each value where it is in the object, such as ``inputs[0]['image']``."""
        form = _form_of(self.kind)
        if form is None:
            yield name
        for key, part in zip(self.keys, self.parts, strict=True):
            is_attribute = form is not None and form.has_attributes
            yield from part.paths(f"{name}.{key}" if is_attribute else f"{name}[{key!r}]")

    def _built(self, values: Iterator[Any]) -> Any:
        form = _form_of(self.kind)
        if form is None:
            return next(values)
        return form.build(self.kind, self.keys, [part._built(values) for part in self.parts])


class _Form(NamedTuple):
    """How objects of some types are taken apart and put together."""

    parts: Callable[[Any], dict[Any, Any]]
    build: Callable[[type, tuple[Any, ...], list[Any]], Any]
    has_attributes: bool = True


def flatten_to_tuple(obj: Any) -> tuple[tuple[Any, ...], Schema]:
    """Take an object apart.

    Args:
        obj: tensors in lists, tuples, named tuples, dicts, `Instances`, `ImageList`, boxes, masks
            and keypoints, in each other at will. Sizes of images become tensors. Everything else
            is a value that stays as it is.

    Returns:
        The values, and the schema that puts them together again.
    """
    if isinstance(obj, Tensor):
        return (obj,), Schema(Tensor)
    form = _form_of(type(obj))
    if form is None:
        return (obj,), Schema(type(obj))
    parts = form.parts(obj)
    flattened = [flatten_to_tuple(part) for part in parts.values()]
    values = tuple(value for part, _ in flattened for value in part)
    return values, Schema(type(obj), tuple(parts), tuple(schema for _, schema in flattened))


def _form_of(kind: type) -> _Form | None:
    return next((form for base, form in _FORMS.items() if issubclass(kind, base)), None)


def _sequence(kind: type, keys: tuple[Any, ...], parts: list[Any]) -> Any:
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def _mapping(kind: type, keys: tuple[Any, ...], parts: list[Any]) -> Any:
    items = dict(zip(keys, parts, strict=True))
    return items if kind is dict else kind(items)


def _tensor_holder(kind: type, keys: tuple[Any, ...], parts: list[Any]) -> Any:
    return kind(parts[0])


def _instances(kind: type, keys: tuple[Any, ...], parts: list[Any]) -> Any:
    *fields, size = parts
    return kind(_size_pair(size), **dict(zip(keys, fields, strict=False)))


def _instances_parts(instances: Instances) -> dict[Any, Any]:
    return {**instances.get_fields(), "image_size": _size_tensor(instances.image_size)}


def _image_list(kind: type, keys: tuple[Any, ...], parts: list[Any]) -> Any:
    tensor, sizes = parts
    rows = sizes.unbind(0)
    return kind(tensor, list(rows if torch.jit.is_tracing() else map(_size_pair, rows)))


def _image_list_parts(images: ImageList) -> dict[Any, Any]:
    sizes = [_size_tensor(size) for size in images.image_sizes]
    return {"tensor": images.tensor, "image_sizes": torch.stack(sizes)}


def _size_tensor(size: Any) -> Tensor:
    """A (2,) int64 tensor of a pair of numbers, or of what stands for them in a trace."""
    if isinstance(size, Tensor):
        return size
    return torch.stack([s if isinstance(s, Tensor) else torch.tensor(s) for s in size])


def _size_pair(size: Tensor) -> tuple[Any, Any]:
    """(height, width); in a trace as tensors, so that it holds for other sizes."""
    height, width = size.unbind(0)
    return (height, width) if torch.jit.is_tracing() else (int(height), int(width))


_TENSOR_HOLDER = _Form(lambda holder: {"tensor": holder.tensor}, _tensor_holder)
_SEQUENCE = _Form(lambda items: dict(enumerate(items)), _sequence, has_attributes=False)
_FORMS: dict[type, _Form] = {
    list: _SEQUENCE,
    tuple: _SEQUENCE,
    dict: _Form(dict, _mapping, has_attributes=False),
    Instances: _Form(_instances_parts, _instances),
    ImageList: _Form(_image_list_parts, _image_list),
    **dict.fromkeys((Boxes, RotatedBoxes, BitMasks, ROIMasks, Keypoints), _TENSOR_HOLDER),
}
