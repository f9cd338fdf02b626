"""What the structures accept as their data, and the messages they refuse the rest with.

`as_row_matrix`, `check_finite`, `check_box_size` and `select_rows` are also compiled by
TorchScript.
"""

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    Index = int | slice | Tensor | np.ndarray | list[int] | list[bool]
    TensorIterator = Iterator[Tensor]
    TensorLike = Tensor | np.ndarray | Sequence[Any]
else:
    # TorchScript reads the same annotations and knows none of these types. Inside a scripted
    # model data and indices are tensors, and nothing iterates over a structure.
    Index = Tensor
    TensorIterator = Any
    TensorLike = Tensor

__all__ = [
    "Index",
    "TensorIterator",
    "TensorLike",
    "as_row_matrix",
    "check_box_size",
    "check_factors",
    "check_finite",
    "check_same_type",
    "host_array",
    "is_read_at_once",
    "is_recording",
    "join_rows",
    "on_host",
    "select_rows",
    "selected_positions",
    "tensor_from_host",
]


def tensor_from_host(data: Any, name: str) -> Tensor:
    """Turn numbers in lists or arrays into a float32 CPU tensor.

    Raises:
        TypeError: if ``data`` is not numeric (ragged lists included).
        ValueError: if a number is NaN or infinite.
    """
    if isinstance(data, Sequence) and len(data) and isinstance(data[0], Tensor):
        shapes = {tuple(row.shape) for row in data if isinstance(row, Tensor)}
        if len(shapes) > 1 or not all(isinstance(row, Tensor) for row in data):
            raise TypeError(
                f"{name} needs rows of one length, got a list of {len(data)} with the shapes "
                f"{sorted(shapes)}"
            )
        tensor = torch.stack(list(data))
    else:
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise TypeError(
                f"{name} needs a matrix of numbers, got rows of differing lengths: {data!r:.200}"
            ) from error
        if array.dtype.kind not in "fiu":
            raise TypeError(
                f"{name} needs a tensor, an array or nested lists of numbers, got "
                f"{type(data).__name__} of dtype {array.dtype}"
            )
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    check_finite(tensor, name)
    return tensor


def as_row_matrix(data: TensorLike, columns: int, name: str) -> Tensor:
    """Check that ``data`` is an (N, columns) matrix of numbers; give it as a float32 tensor.

    A float32 tensor is given back itself. Lists and arrays must be finite. What has no elements
    gives (0, columns), whatever its shape. Shapes are not checked under `torch.jit.trace`, where
    a check would be recorded as a constant.

    Raises:
        TypeError: for bool or complex numbers, and what is not numeric.
        ValueError: for another shape, or NaN or infinity in a list or array.
    """
    tensor = data if isinstance(data, Tensor) else tensor_from_host(data, name)
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} needs real numbers, got a tensor of dtype {tensor.dtype}")
    tensor = tensor.to(torch.float32)
    if torch.jit.is_tracing():
        return tensor
    if tensor.dim() == 2 and tensor.shape[1] == columns:
        return tensor
    if tensor.numel() == 0:
        return tensor.reshape((0, columns))
    raise ValueError(f"{name} needs shape (N, {columns}), got {list(tensor.shape)}")


def check_finite(tensor: Tensor, name: str) -> None:
    """Refuse NaN and infinity; not checked in a trace or an export, which see no values.

    Raises:
        ValueError: with the first offending row.
    """
    if torch.jit.is_scripting():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds NaN or infinity")
    elif not is_recording():
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0, 0])
            raise ValueError(
                f"{name} holds NaN or infinity: row {row} of shape {list(tensor.shape)} is "
                f"{tensor[row].tolist()}"
            )


def check_box_size(box_size: tuple[int, int], name: str) -> None:
    """Refuse what is no (height, width); not checked where sizes are recorded.

    Raises:
        ValueError: if it has not two elements, or a negative one.
    """
    if torch.jit.is_scripting():
        if box_size[0] < 0 or box_size[1] < 0:
            raise ValueError(f"{name} must not be negative, got {box_size}")
    else:
        _check_seen_size(box_size, name)


@torch.jit.unused
def _check_seen_size(box_size: Any, name: str) -> None:
    if is_recording():
        return
    try:
        height, width = box_size
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be (height, width) in pixels, got {box_size!r}") from None
    if not (height >= 0 and width >= 0):
        raise ValueError(f"{name} must not be negative, got {box_size}")


@torch.jit.unused
def check_factors(scale_x: float, scale_y: float) -> None:
    """Refuse NaN, infinity and what is no number; not checked where values are recorded.

    Raises:
        ValueError: naming both.
    """
    if is_recording():
        return
    try:
        finite = math.isfinite(scale_x) and math.isfinite(scale_y)
    except TypeError:
        finite = False
    if not finite:
        raise ValueError(f"scales must be finite numbers, got {scale_x!r} and {scale_y!r}")


def select_rows(tensor: Tensor, item: Index, name: str) -> Tensor:
    """Index the first dimension and insist that the others stay.

    Raises:
        ValueError: if the result has another number of dimensions.
    """
    rows = tensor[item]
    if rows.dim() != tensor.dim():
        raise ValueError(
            f"{name} can be indexed by an int, a slice, an int vector or a bool vector of its "
            f"length; this index gave shape {list(rows.shape)} out of {list(tensor.shape)}"
        )
    return rows


def selected_positions(item: Any, length: int) -> list[int]:
    """Which elements an int vector or a bool vector selects of a list of ``length``.

    Raises:
        IndexError: for an element that is not there, or a bool vector of another length.
        ValueError: if ``item`` is not a vector.
    """
    index = torch.as_tensor(item, device="cpu")
    if index.numel() == 0 and index.dtype != torch.bool:
        index = index.to(torch.int64)  # an empty list says nothing about its dtype
    positions = torch.arange(length)[index]
    if positions.dim() != 1:
        raise ValueError(f"a list takes a vector as index, got shape {list(index.shape)}")
    return positions.tolist()


def is_recording() -> bool:
    """Whether a trace or an export is being made, which must not depend on sizes and values."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def is_read_at_once(device: torch.device) -> bool:
    """Whether nobody has to wait for the values of a tensor on a device."""
    return device.type == "cpu"


def on_host(tensor: Tensor) -> bool:
    """Whether the values can be looked at: in CPU memory, and no graph is being recorded."""
    return tensor.device.type == "cpu" and not is_recording()


def check_same_type(parts: Sequence[Any], wanted: type, name: str) -> None:
    """Refuse a list to be joined in which something is not a ``wanted``.

    Raises:
        TypeError: naming the position.
    """
    if not isinstance(parts, (list, tuple)):
        raise TypeError(f"{name} needs a list of {wanted.__name__}, got {type(parts).__name__}")
    for position, part in enumerate(parts):
        if not isinstance(part, wanted):
            raise TypeError(
                f"{name} needs a list of {wanted.__name__}, got {type(part).__name__} at "
                f"position {position}"
            )


def join_rows(tensors: Sequence[Tensor], name: str) -> Tensor:
    """`torch.cat` along the first dimension, with an error that says what differs.

    Raises:
        ValueError: if the tensors differ in another dimension.
    """
    if not is_recording():
        for position, tensor in enumerate(tensors):
            if tensor.shape[1:] != tensors[0].shape[1:]:
                raise ValueError(
                    f"{name} joins what is alike but for the first dimension: position 0 has shape "
                    f"{list(tensors[0].shape)} and position {position} {list(tensor.shape)}"
                )
    return torch.cat(list(tensors))


def host_array(tensor: Tensor, dtype: Any, copy: bool | None) -> np.ndarray:
    """What ``__array__`` of a structure returns."""
    return np.array(tensor.detach().cpu().numpy(), dtype=dtype, copy=copy)


def checked_image_size(image_size: Any) -> tuple[int, int]:
    """(height, width), if that is what it is.

    Raises:
        ValueError: if these are not two numbers, or one is negative.
    """
    try:
        height, width = image_size
    except (TypeError, ValueError):
        raise ValueError(f"image_size must be (height, width), got {image_size!r}") from None
    for side in (height, width):
        if not isinstance(side, (numbers.Number, Tensor, torch.SymInt)):
            raise ValueError(f"image_size must be two numbers, got {image_size!r}")
        if isinstance(side, (int, float)) and not side >= 0:
            raise ValueError(f"image_size must not be negative, got {image_size!r}")
    return (height, width)
