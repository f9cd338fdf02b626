"""What is known about the objects of one image, field by field."""

import difflib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .tensor_input import (
    Index,
    check_same_type,
    checked_image_size,
    is_recording,
    selected_positions,
)

__all__ = ["Instances"]


class Instances:
    """The objects of one image: boxes, masks, classes, scores, … each as a field.

    All fields have the same length, the number of instances. They are read and written as
    attributes::

        instances = Instances((480, 640), pred_classes=torch.tensor([3, 0]))
        instances.pred_boxes = Boxes(torch.rand(2, 4))
        "pred_boxes" in instances.get_fields()
        confident = instances[instances.scores > 0.9]

    A field may be anything with a length that can be indexed: a tensor, a structure of this
    package, a NumPy array, a list. Attributes whose name starts with an underscore are private
    to the class and are no fields.
    """

    _image_size: tuple[int, int]
    _fields: dict[str, Any]
    _image: Any = None
    _metadata: Any = None

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        """Start a list of instances.

        Args:
            image_size: (height, width) of the image in pixels.
            kwargs: fields to begin with.

        Raises:
            ValueError: if the image size is not two non-negative numbers, or the fields differ
                in length.
        """
        self._image_size = checked_image_size(image_size)
        self._fields = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self._image_size

    def set(self, name: str, value: Any) -> None:
        """Add the field ``name``, or replace it.

        Args:
            name: the field's name, an identifier without a leading underscore.
            value: as many elements as the other fields have.

        Raises:
            ValueError: if the length differs from that of the other fields, or the name could not
                be read as an attribute.
            TypeError: if ``value`` has no length.
        """
        if name.startswith("_") or hasattr(type(self), name):
            raise ValueError(
                f"a field cannot be called {name!r}: as an attribute that is something else"
            )
        length = _length(value, name)
        other = next((key for key in self._fields if key != name), None)
        if other is not None and length is not None:
            wanted = _length(self._fields[other], other)
            if wanted is not None and length != wanted:
                raise ValueError(
                    f"field {name!r} has length {length}, but these Instances have {wanted} "
                    f"(the length of {other!r})"
                )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether there is a field ``name``."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Drop the field ``name``.

        Raises:
            KeyError: if there is none.
        """
        self.get(name)
        del self._fields[name]

    def get(self, name: str) -> Any:
        """The field ``name``.

        Raises:
            KeyError: if there is none.
        """
        try:
            return self._fields[name]
        except KeyError:
            raise KeyError(self._missing_field(name)) from None

    def get_fields(self) -> dict[str, Any]:
        """The fields by name. This is the dict itself: changing it changes the instances."""
        return self._fields

    def with_image(self, image_rgb: Any, metadata: Any = None) -> "Instances":
        """The same instances, which notebooks show as a picture.

        The fields and the image are shared, not copied. What is made of these instances, by
        indexing or moving them for instance, knows the image too.

        Args:
            image_rgb: (height, width, 3) in RGB order, range 0..255: an array, a tensor or a
                Pillow image.
            metadata: names and colours of classes, as `d2_structures.visualizer.Visualizer` takes
                them.

        Raises:
            ValueError: if the image has another size.
        """
        shape = (*image_rgb.shape,) if hasattr(image_rgb, "shape") else np.shape(image_rgb)
        if shape[:2] != tuple(self._image_size) or len(shape) not in (2, 3):
            raise ValueError(
                f"these Instances are of an image of shape {(*self._image_size, 3)}, got {shape}"
            )
        shown = self.__copy__()
        shown._image, shown._metadata = image_rgb, metadata
        return shown

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """Call ``to`` with these arguments on every field that has it; keep the others."""
        moved = self._empty_like()
        moved._fields = {
            name: value.to(*args, **kwargs) if hasattr(value, "to") else value
            for name, value in self._fields.items()
        }
        return moved

    def numpy(self) -> dict[str, Any]:
        """The fields as NumPy arrays, on the host; fields of other kinds stay what they are."""
        arrays = {}
        for name, value in self._fields.items():
            if isinstance(value, Tensor):
                arrays[name] = value.detach().cpu().numpy()
            else:
                arrays[name] = np.asarray(value) if hasattr(value, "__array__") else value
        return arrays

    @staticmethod
    def cat(instance_lists: list["Instances"]) -> "Instances":
        """Join instances of one image, in order.

        Args:
            instance_lists: one or more Instances with the same image size and the same fields.
                A single one is returned as it is.

        Returns:
            Instances with each field joined: tensors by `torch.cat`, NumPy arrays by
            `numpy.concatenate`, lists by appending, others by the ``cat`` of their type.

        Raises:
            ValueError: if the list is empty, or image sizes or field names differ.
            TypeError: for an element that is not Instances, or a field that cannot be joined.
        """
        check_same_type(instance_lists, Instances, "Instances.cat")
        if len(instance_lists) == 0:
            raise ValueError("Instances.cat needs at least one Instances: it gives the image size")
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        for position, other in enumerate(instance_lists[1:], start=1):
            if not is_recording() and other.image_size != first.image_size:
                raise ValueError(
                    f"Instances.cat joins instances of one image: image_size is "
                    f"{first.image_size} at position 0 and {other.image_size} at {position}"
                )
            if other._fields.keys() != first._fields.keys():
                raise ValueError(
                    f"Instances.cat needs the same fields everywhere: position 0 has "
                    f"{sorted(first._fields)} and position {position} has {sorted(other._fields)}"
                )
        joined = first._empty_like()
        for name in first._fields:
            joined.set(name, _joined([i._fields[name] for i in instance_lists], name))
        return joined

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        elif name == "image_size":
            raise AttributeError("image_size of Instances is fixed when they are made")
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # Reached only for what is no real attribute. Names with underscores must not look into
        # `_fields`, which is itself absent while an object is being unpickled.
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}"
                if name.startswith("_")
                else self._missing_field(name)
            )
        return self._fields[name]

    def __delattr__(self, name: str) -> None:
        if not self.has(name):
            raise AttributeError(self._missing_field(name))
        self.remove(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._fields]

    def __getitem__(self, item: Index | str) -> Any:
        """Select instances, or one field.

        Args:
            item: a field's name; or an int, a slice, an int vector or a bool vector, which is
                applied to every field.

        Returns:
            The field's value for a name, otherwise Instances (of length one for an int).

        Raises:
            IndexError: for an int outside the range.
            KeyError: for the name of a field that is not there.
        """
        if isinstance(item, str):
            return self.get(item)
        if isinstance(item, (int, np.integer)):
            item = int(item)
            length = len(self)
            if not -length <= item < length:
                raise IndexError(f"index {item} is out of range for {length} instances")
            item = slice(item, item + 1 or None)
        picked = self._empty_like()
        for name, value in self._fields.items():
            picked.set(name, _indexed(value, item))
        return picked

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise ValueError("Instances without fields have no length; set a field first")

    def __bool__(self) -> bool:
        return bool(self._fields) and len(self) > 0

    def __iter__(self) -> Iterator["Instances"]:
        """Yield one Instances of length one per instance."""
        return (self[i] for i in range(len(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __copy__(self) -> "Instances":
        copied = self._empty_like()
        copied._fields.update(self._fields)
        return copied

    def __repr__(self) -> str:
        height, width = self._image_size
        fields = ", ".join(f"{name}: {_summary(value)}" for name, value in self._fields.items())
        count = f"num_instances={len(self)}, " if self._fields else ""
        return f"Instances({count}image_height={height}, image_width={width}, fields=[{fields}])"

    __str__ = __repr__

    def _repr_png_(self) -> bytes | None:
        """The picture that notebooks show; without an image they show the text."""
        if self._image is None:
            return None
        from .visualizer.instance_picture import draw_instances

        return draw_instances(self, self._image, self._metadata)._repr_png_()

    def _empty_like(self) -> "Instances":
        """Instances of the same type and private attributes, without fields."""
        twin = self.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._fields = {}
        return twin

    def _missing_field(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._fields, n=2)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        return f"no field {name!r} in these Instances, which have {sorted(self._fields)}{hint}"


def _length(value: Any, name: str) -> int | None:
    """The length of a field; None where it is symbolic."""
    if is_recording():
        return None
    try:
        return len(value)
    except TypeError:
        raise TypeError(
            f"field {name!r} needs one element per instance, but a {type(value).__name__} "
            "without length was given"
        ) from None


def _indexed(value: Any, item: Index) -> Any:
    if isinstance(value, (list, tuple)) and not isinstance(item, slice):
        return type(value)(value[i] for i in selected_positions(item, len(value)))
    if isinstance(value, np.ndarray) and isinstance(item, Tensor):
        item = item.cpu().numpy()  # NumPy would take a tensor of one element for a number
    return value[item]


def _joined(values: list[Any], name: str) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values, dim=0)
    if isinstance(first, np.ndarray):
        return np.concatenate(values, axis=0)
    if isinstance(first, (list, tuple)):
        return type(first)(itertools.chain.from_iterable(values))
    if hasattr(type(first), "cat"):
        return type(first).cat(values)
    raise TypeError(f"field {name!r} of type {type(first).__name__} cannot be joined")


def _summary(value: Any) -> str:
    """A tensor or array by dtype and shape, anything else by its repr if that is short."""
    if isinstance(value, (Tensor, np.ndarray)) and (value.ndim != 1 or value.shape[0] > 8):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} of length {len(value)}"
