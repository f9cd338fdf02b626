"""What a pickle may ask for by name: how arrays, their types and plain values are made.

A pickle calls functions and then sets the state of what they returned. NumPy's own ``dtype`` and
``ndarray`` believe the states that they are given, addresses included. What stands in for them
here makes the finished object once, from a state that was checked.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from d2_structures.array_pickle.errors import ArrayPickleError
from d2_structures.box_mode import BoxMode

_MAX_DIMENSIONS = 32
_NUMBERS = frozenset(
    ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
)
_TEXT = frozenset("SU")
_SCALARS = (bool, int, float, str, bytes, np.generic)
_MAX_KEY_DEPTH = 4
_MAX_KEY_MEMBERS = 1000
_MAX_KEY_BITS = 10_000
_HOMES_OF_BOX_MODE = (
    "d2_structures",
    "d2_structures.box_mode",
    "detectron2.structures",
    "detectron2.structures.boxes",
)


class DtypeInMaking:
    """Stands for a ``numpy.dtype`` until its byte order is known."""

    __slots__ = ("_code",)

    def __init__(self, code: Any, *flags: Any) -> None:
        del flags  # whether to align fields, of which there are none, and to copy
        code = code.decode("latin1") if isinstance(code, bytes) else code
        known = isinstance(code, str) and (
            code in _NUMBERS
            or (code[:1] in _TEXT and code[1:].isdecimal() and len(code) < 8 and code[1:] != "0")
        )
        if not known:
            what = "Python objects" if code in ("O", "O8", "O4") else f"the type {_short(code)}"
            raise ArrayPickleError(f"holds an array of {what}, which is not plain numbers or text")
        self._code = code

    def built(self, state: Any) -> np.dtype:
        """Return the type; its state may say nothing but the byte order."""
        if not (isinstance(state, tuple) and len(state) >= 5 and state[0] in (1, 2, 3, 4)):
            raise ArrayPickleError(f"holds a NumPy type in the unknown state {_short(state)}")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ArrayPickleError("holds an array with fields or sub-arrays, not of plain numbers")
        return np.dtype(self._code).newbyteorder(order if order in "<>" else "=")


class ArrayInMaking:
    """Stands for a ``numpy.ndarray`` until shape, type and content are known."""

    __slots__ = ()

    def built(self, state: Any) -> np.ndarray:
        """Return the array, in the byte order of this machine."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ArrayPickleError(f"holds an array in the unknown state {_short(state)}")
        shape, dtype, is_fortran, content = state[-4:]
        return array_of(
            content, dtype, shape, "F" if is_fortran is True or is_fortran == 1 else "C"
        )


InMaking = (DtypeInMaking, ArrayInMaking)


class PlainClass:
    """Stands for a class that may be named as an argument, and does nothing."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_NDARRAY = PlainClass("numpy.ndarray")


class Named:
    """A function that a pickle may call."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function


def array_of(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Return a new array, after making sure that content, type and shape belong together."""
    if isinstance(content, list):
        raise ArrayPickleError("holds an array of Python objects, which is not plain numbers")
    if not isinstance(dtype, np.dtype):
        raise ArrayPickleError(f"holds an array of {_short(dtype)}, which is no NumPy type")
    raw = _raw(content)
    if isinstance(shape, int):
        shape = (shape,)
    is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not is_shape or len(shape) > _MAX_DIMENSIONS or order not in ("C", "F"):
        raise ArrayPickleError(f"holds an array of shape {_short(shape)}")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ArrayPickleError(
            f"holds an array whose {len(raw)} bytes are not those of a {dtype} array of shape "
            f"{shape}"
        )
    return _values(raw, dtype).reshape(shape, order=order)


def _values(raw: bytes | bytearray, dtype: np.dtype) -> np.ndarray:
    """Return writable values in native byte order."""
    if dtype.kind == "b":
        return np.frombuffer(raw, np.uint8) != 0  # no other byte is a truth value
    if dtype.kind == "U":
        codec = "utf-32-be" if dtype.str.startswith(">") else "utf-32-le"
        bytes(raw).decode(codec, "surrogatepass")  # are these characters?
    values = np.frombuffer(raw, dtype)
    return values.astype(dtype.newbyteorder("="))


def _raw(content: Any) -> bytes | bytearray:
    if isinstance(content, str):
        return content.encode("latin1")
    if isinstance(content, (bytes, bytearray)):
        return content
    raise ArrayPickleError(f"holds an array whose content is {_short(content)}, not bytes")


def is_key(value: Any) -> bool:
    """Whether a value may be a key or a member of a set.

    Hashing deep tuples ends the process, and hashing tuples that hold the same tuples many times,
    or enormous numbers, takes for ever.
    """
    level: list[Any] = [value]
    members = 0
    for _ in range(_MAX_KEY_DEPTH + 1):
        tuples = [part for part in level if type(part) is tuple]
        if not all(map(_is_scalar, (part for part in level if type(part) is not tuple))):
            return False
        if not tuples:
            return True
        members += sum(map(len, tuples))
        if members > _MAX_KEY_MEMBERS:
            return False
        level = [member for one in tuples for member in one]
    return False


def _is_scalar(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() < _MAX_KEY_BITS
    return value is None or isinstance(value, _SCALARS)


def payload_of(made: Any) -> int:
    """Roughly how many bytes of content were copied into what a call made."""
    if isinstance(made, (np.ndarray, np.generic)):
        return made.nbytes
    if isinstance(made, (str, bytes, bytearray)):
        return len(made)
    return 8 * len(made) if isinstance(made, (set, frozenset, dict)) else 0


def _reconstruct(subtype: Any, *placeholder: Any) -> ArrayInMaking:
    del placeholder  # shape and type of the empty array that NumPy would begin with
    if subtype is not _NDARRAY:
        raise ArrayPickleError("asks for an array of another class than numpy.ndarray")
    return ArrayInMaking()


def _scalar(dtype: Any, content: Any) -> Any:
    return array_of(content, dtype, (), "C")[()]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return array_of(content, dtype, shape, order)


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    """Make bytes as pickles before protocol 3 do."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise ArrayPickleError(f"asks for the codec {_short(codec)}, not latin1")
    return text.encode("latin1")


def _byte_array(content: Any = b"", codec: Any = "latin1") -> bytearray:
    if isinstance(content, str):
        return bytearray(_encode(content, codec))
    return bytearray(_raw(content))


def _no_bytes() -> bytes:
    """Make empty bytes as pickles of protocol 2 do."""
    return b""


def set_of(members: Any = ()) -> set[Any]:
    """Make a set of plain members."""
    if not isinstance(members, (list, tuple)) or not all(map(is_key, members)):
        raise ArrayPickleError("holds a set of other than plain values")
    return set(members)


def _frozen_set(members: Any = ()) -> frozenset[Any]:
    return frozenset(set_of(members))


def _ordered_dict(items: Any = ()) -> "OrderedDict[Any, Any]":
    if not isinstance(items, (list, tuple)):
        raise ArrayPickleError("makes an OrderedDict of other than a list of pairs")
    made: OrderedDict[Any, Any] = OrderedDict()
    for pair in items:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not is_key(pair[0]):
            raise ArrayPickleError("makes an OrderedDict of other than pairs with plain keys")
        made[pair[0]] = pair[1]
    return made


def _box_mode(value: Any) -> BoxMode:
    if type(value) is not int or value not in set(BoxMode):
        raise ArrayPickleError(f"has boxes in the unknown mode {_short(value)}")
    return BoxMode(value)


def _member(owner: Any, name: Any) -> BoxMode:
    """Return a box mode by its name: early releases of Python 3.11 write members like this."""
    if not isinstance(owner, Named) or owner.function is not _box_mode:
        raise ArrayPickleError("asks for an attribute of other than BoxMode")
    if type(name) is not str or name not in BoxMode.__members__:
        raise ArrayPickleError(f"has boxes in the unknown mode {_short(name)}")
    return BoxMode[name]


def _admitted() -> Mapping[tuple[str, str], Named | PlainClass]:
    functions: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "dtype"): DtypeInMaking,
        ("collections", "OrderedDict"): _ordered_dict,
        ("_codecs", "encode"): _encode,
    }
    # NumPy 2 renamed `core`; files of either age are read under either version.
    for package in ("numpy.core", "numpy._core"):
        functions[f"{package}.multiarray", "_reconstruct"] = _reconstruct
        functions[f"{package}.multiarray", "scalar"] = _scalar
        functions[f"{package}.numeric", "_frombuffer"] = _from_buffer
    for builtins in ("builtins", "__builtin__"):
        functions[builtins, "bytes"] = _no_bytes
        functions[builtins, "set"] = set_of
        functions[builtins, "frozenset"] = _frozen_set
        functions[builtins, "bytearray"] = _byte_array
        functions[builtins, "getattr"] = _member
    for module in _HOMES_OF_BOX_MODE:
        functions[module, "BoxMode"] = _box_mode
    named: dict[tuple[str, str], Named | PlainClass] = {
        names: Named(".".join(names), function) for names, function in functions.items()
    }
    named["numpy", "ndarray"] = _NDARRAY
    return MappingProxyType(named)


ADMITTED = _admitted()
"""What a pickle may name: (module, name) -> what stands in for it."""


def _short(value: Any) -> str:
    """Show a scalar; of others the class, as their text may be endless."""
    if isinstance(value, tuple) and len(value) <= 8 and all(map(_is_short, value)):
        return repr(value)
    return repr(value) if _is_short(value) else f"a {type(value).__name__}"


def _is_short(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() < 100
    if isinstance(value, (str, bytes)):
        return len(value) < 60
    return value is None or isinstance(value, float)
