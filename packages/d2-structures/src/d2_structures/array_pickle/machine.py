"""The machine that a pickle is a program for, without what could run code.

Python's own unpickler, told what it may import, still sets the state of whatever a file names,
fills memory as far as a file says, and ends the process on keys that are nested deeply. This one
knows the operations that write plain data, and no other.
"""

import codecs
import os
import pickle
import pickletools
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from d2_structures.array_pickle.errors import ArrayPickleError
from d2_structures.array_pickle.rebuilding import (
    ADMITTED,
    ArrayInMaking,
    DtypeInMaking,
    InMaking,
    Named,
    PlainClass,
    is_key,
    payload_of,
    set_of,
)

_MAX_STEPS = 100_000_000
"""Far beyond what files of arrays need; an endless file ends here."""

_MAX_ARGUMENTS = 8
_MAX_UNFINISHED = 1000
_SHARE_OF_FILE = 16
_MAX_SMALL_PAYLOAD = 1 << 20
"""What calls may make, in bytes, of a file of any size; of large ones a multiple of their size.

A file that calls again and again with content that it holds once would otherwise fill the memory.
"""


def load_array_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle that holds arrays, numbers, text, box modes and plain containers.

    Nothing in the file is run and nothing imported, and memory is used in proportion to the file.
    Pickles of Python 2 are read as well (their byte strings become latin-1 text). Arrays are of
    plain numbers, truth values or text, writable, and in this machine's byte order. Attributes of
    an ``OrderedDict`` are left out.

    Args:
        path: an ordinary file, in any of pickle's protocols.

    Raises:
        FileNotFoundError: if there is no such file.
        ArrayPickleError: (a ``ValueError``) if the file asks for anything else, naming it, or is
            damaged.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        kind = "is not an ordinary file" if os.path.exists(name) else "does not exist"
        raise FileNotFoundError(f"the pickle file {name!r} {kind}")
    with open(name, "rb") as file:
        machine = _Machine(file, os.fstat(file.fileno()).st_size)
        try:
            return machine.run()
        except ArrayPickleError as error:
            raise ArrayPickleError(
                f"{name!r} {error} (at byte {file.tell()}). Only arrays of numbers and plain "
                "containers are read from pickle files, because anything else could run code. If "
                "you trust the file, load it yourself and save its arrays as a .pth state dict"
            ) from error
        except Exception as error:  # a damaged pickle can fail in any way
            reason = str(error) or type(error).__name__
            raise ArrayPickleError(
                f"{name!r} is not a complete pickle file (at byte {file.tell()}: {reason}); it may "
                "be damaged or cut short: fetch it again"
            ) from error


class _Machine:
    """Stack, memo and the operations on them; see the module ``pickletools`` for their meaning."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # what was on the stack when a mark was set
        self._memo: dict[int, Any] = {}
        self._unfinished = 0
        self._unfinished_keys: list[int] = []
        self._allowance = _SHARE_OF_FILE * size + _MAX_SMALL_PAYLOAD

    def run(self) -> Any:
        read = self._file.read
        for _ in range(_MAX_STEPS):
            code = read(1)
            if code == pickle.STOP:
                break
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise self._unknown(code)
            operation(self)
        else:
            raise ArrayPickleError(f"takes more than {_MAX_STEPS:,} steps to read")
        if self._below or self._unfinished or len(self._stack) != 1:
            raise ValueError("it ends before what it describes is complete")
        return self._stack[0]

    @staticmethod
    def _unknown(code: bytes) -> Exception:
        if not code:
            return EOFError("it ends here")
        name = next((op.name for op in pickletools.opcodes if op.code == code.decode("latin1")), "")
        if name:
            return ArrayPickleError(f"uses the operation {name}, which plain data does not need")
        return ValueError(f"there is no operation {code!r}")

    # Reading

    def _take(self, count: int) -> bytes:
        """Read so many bytes; no more is ever asked for than the file has."""
        if not 0 <= count <= self._size:
            raise EOFError(f"{count} bytes are wanted")
        content = self._file.read(count)
        if len(content) < count:
            raise EOFError(f"{count} bytes are wanted, {len(content)} are left")
        return content

    def _number(self, layout: str, size: int) -> Any:
        return struct.unpack(layout, self._take(size))[0]

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("a line does not end")
        return line[:-1]

    # Stack

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _top(self) -> Any:
        return self._stack[-1]

    def _pop(self) -> Any:
        return self._stack.pop()

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        values = self._stack
        self._stack = self._below.pop()
        return values

    def _discard(self) -> None:
        if self._stack:
            self._pop()
        else:
            self._pop_mark()

    def _push_again(self, value: Any) -> None:
        self._check_finished([value])
        self._push(value)

    def _check_finished(self, values: list[Any]) -> None:
        """Refuse to keep what only stands for an array: it would never be replaced."""
        if self._unfinished and any(isinstance(value, InMaking) for value in values):
            raise ArrayPickleError("uses an array before it has been given its content")

    # Containers

    def _tuple(self, values: list[Any]) -> None:
        self._check_finished(values)
        self._push(tuple(values))

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("the stack is too short")
        values = self._stack[-count:]
        del self._stack[-count:]
        self._tuple(values)

    def _list(self) -> None:
        values = self._pop_mark()
        self._check_finished(values)
        self._push(values)

    def _extend(self, values: list[Any]) -> None:
        self._check_finished(values)
        target = self._top()
        if type(target) is not list:
            raise ArrayPickleError(f"adds to a {type(target).__name__} as if it were a list")
        target.extend(values)

    def _append(self) -> None:
        self._extend([self._pop()])

    def _dict(self) -> None:
        values = self._pop_mark()
        self._push({})
        self._set_items(values)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _set_items(self, values: list[Any]) -> None:
        self._check_finished(values)
        target = self._top()
        if type(target) not in (dict, OrderedDict):
            raise ArrayPickleError(f"sets items of a {type(target).__name__}")
        if len(values) % 2:
            raise ValueError("a key has no value")
        keys = values[::2]
        for key in keys:
            if type(key) is not str and not is_key(key):
                raise ArrayPickleError(f"has a {type(key).__name__} as the key of a dictionary")
        target.update(zip(keys, values[1::2], strict=True))

    def _add_members(self) -> None:
        members = self._pop_mark()
        target = self._top()
        if type(target) is not set:
            raise ArrayPickleError(f"adds members to a {type(target).__name__}")
        target |= set_of(members)

    # Memo

    def _remember(self, key: int) -> None:
        value = self._top()
        self._memo[key] = value
        if isinstance(value, InMaking):
            self._unfinished_keys.append(key)
            if len(self._unfinished_keys) > _MAX_UNFINISHED:
                raise ArrayPickleError("begins more arrays than it gives their content")

    def _recall(self, key: int) -> None:
        if key not in self._memo:
            raise KeyError(f"nothing was kept as number {key}")
        self._push_again(self._memo[key])

    # Objects

    def _global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("the name of a function is not text")
        try:
            self._push(ADMITTED[module, name])
        except KeyError:
            named = f"{module}.{name}"
            named = named if len(named) < 200 else f"{named[:200]}…"
            raise ArrayPickleError(f"refers to {named}") from None

    def _global_of_lines(self) -> None:
        module = self._line().decode()
        self._global(module, self._line().decode())

    def _global_of_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._global(module, name)

    def _call(self) -> None:
        arguments, called = self._pop(), self._pop()
        if isinstance(called, PlainClass) or not isinstance(called, Named):
            what = getattr(called, "name", None) or f"a {type(called).__name__}"
            raise ArrayPickleError(f"calls {what}")
        if type(arguments) is not tuple:
            raise ValueError("the arguments of a call are not a tuple")
        if len(arguments) > _MAX_ARGUMENTS:
            raise ArrayPickleError(f"calls {called.name} with {len(arguments)} arguments")
        made = called.function(*arguments)
        self._unfinished += isinstance(made, InMaking)
        self._spend_on(made)
        self._push(made)

    def _spend_on(self, made: Any) -> None:
        self._allowance -= payload_of(made)
        if self._allowance < 0:
            raise ArrayPickleError("makes far more of its content than it holds")

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if type(target) is OrderedDict:
            return  # attributes, such as _metadata of a state dict
        if not isinstance(target, (ArrayInMaking, DtypeInMaking)):
            raise ArrayPickleError(f"sets the state of a {type(target).__name__}")
        finished = target.built(state)
        self._spend_on(finished)
        self._stack[-1] = finished
        self._unfinished -= 1
        for key in self._unfinished_keys:
            if self._memo[key] is target:
                self._memo[key] = finished
        self._unfinished_keys = [
            key for key in self._unfinished_keys if self._memo[key] is not finished
        ]


def _decoded_line(machine: _Machine) -> str:
    """A text of protocol 0, quoted as Python 2 does."""
    line = machine._line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a text is not quoted")
    content: bytes = codecs.escape_decode(line[1:-1])[0]
    return content.decode("latin1")


def _integer_line(machine: _Machine) -> int | bool:
    line = machine._line()
    return {b"00": False, b"01": True}.get(line, int(line))


def _long(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


_Operation = Callable[[_Machine], Any]


def _operations() -> dict[bytes, _Operation]:
    def constant(value: Any) -> _Operation:
        return lambda m: m._stack.append(value)

    def pushing(make: Callable[[_Machine], Any]) -> _Operation:
        return lambda m: m._stack.append(make(m))

    def sized(layout: str, size: int, decode: Callable[[bytes], Any]) -> _Operation:
        return lambda m: m._stack.append(decode(m._take(m._number(layout, size))))

    def utf8(content: bytes) -> str:
        return content.decode("utf-8", "surrogatepass")

    def latin1(content: bytes) -> str:
        return content.decode("latin1")

    return {
        # what a file begins with, and what it is cut into
        pickle.PROTO: lambda m: m._take(1),
        pickle.FRAME: lambda m: m._take(8),
        # plain values
        pickle.NONE: constant(None),
        pickle.NEWTRUE: constant(True),
        pickle.NEWFALSE: constant(False),
        pickle.INT: pushing(_integer_line),
        pickle.BININT: pushing(lambda m: m._number("<i", 4)),
        pickle.BININT1: pushing(lambda m: m._take(1)[0]),
        pickle.BININT2: pushing(lambda m: m._number("<H", 2)),
        pickle.LONG: pushing(lambda m: int(m._line().removesuffix(b"L"))),
        pickle.LONG1: sized("<B", 1, _long),
        pickle.LONG4: sized("<i", 4, _long),
        pickle.FLOAT: pushing(lambda m: float(m._line())),
        pickle.BINFLOAT: pushing(lambda m: m._number(">d", 8)),
        pickle.STRING: pushing(_decoded_line),
        pickle.BINSTRING: sized("<i", 4, latin1),
        pickle.SHORT_BINSTRING: sized("<B", 1, latin1),
        pickle.UNICODE: pushing(lambda m: m._line().decode("raw-unicode-escape")),
        pickle.BINUNICODE: sized("<I", 4, utf8),
        pickle.SHORT_BINUNICODE: sized("<B", 1, utf8),
        pickle.BINUNICODE8: sized("<Q", 8, utf8),
        pickle.BINBYTES: sized("<I", 4, bytes),
        pickle.SHORT_BINBYTES: sized("<B", 1, bytes),
        pickle.BINBYTES8: sized("<Q", 8, bytes),
        pickle.BYTEARRAY8: sized("<Q", 8, bytearray),
        # the stack and the memo
        pickle.MARK: _Machine._mark,
        pickle.POP: _Machine._discard,
        pickle.POP_MARK: _Machine._pop_mark,
        pickle.DUP: lambda m: m._push_again(m._top()),
        pickle.PUT: lambda m: m._remember(int(m._line())),
        pickle.BINPUT: lambda m: m._remember(m._take(1)[0]),
        pickle.LONG_BINPUT: lambda m: m._remember(m._number("<I", 4)),
        pickle.MEMOIZE: lambda m: m._remember(len(m._memo)),
        pickle.GET: lambda m: m._recall(int(m._line())),
        pickle.BINGET: lambda m: m._recall(m._take(1)[0]),
        pickle.LONG_BINGET: lambda m: m._recall(m._number("<I", 4)),
        # containers
        pickle.EMPTY_TUPLE: constant(()),
        pickle.TUPLE: lambda m: m._tuple(m._pop_mark()),
        pickle.TUPLE1: lambda m: m._tuple_of(1),
        pickle.TUPLE2: lambda m: m._tuple_of(2),
        pickle.TUPLE3: lambda m: m._tuple_of(3),
        pickle.EMPTY_LIST: pushing(lambda m: []),
        pickle.LIST: _Machine._list,
        pickle.APPEND: _Machine._append,
        pickle.APPENDS: lambda m: m._extend(m._pop_mark()),
        pickle.EMPTY_DICT: pushing(lambda m: {}),
        pickle.DICT: _Machine._dict,
        pickle.SETITEM: _Machine._set_item,
        pickle.SETITEMS: lambda m: m._set_items(m._pop_mark()),
        pickle.EMPTY_SET: pushing(lambda m: set()),
        pickle.ADDITEMS: _Machine._add_members,
        pickle.FROZENSET: lambda m: m._push(frozenset(set_of(m._pop_mark()))),
        # arrays
        pickle.GLOBAL: _Machine._global_of_lines,
        pickle.STACK_GLOBAL: _Machine._global_of_stack,
        pickle.REDUCE: _Machine._call,
        pickle.BUILD: _Machine._build,
    }


_OPERATIONS = _operations()
