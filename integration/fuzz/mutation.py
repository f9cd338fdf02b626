"""Changes to the operations of a pickle."""

import pickletools
import random
import struct
from typing import NamedTuple

_CODES = [operation.code.encode("latin1") for operation in pickletools.opcodes]
_NAMES = [
    *(b"numpy", b"dtype", b"ndarray", b"numpy.core.multiarray", b"_reconstruct", b"scalar"),
    *(b"numpy._core.numeric", b"_frombuffer", b"builtins", b"set", b"bytearray", b"getattr"),
    *(b"os", b"system", b"collections", b"OrderedDict", b"_codecs", b"encode", b"eval"),
    *(b"d2_structures.box_mode", b"BoxMode", b"model", b"blobs", b"ids", b"boxes", b"bbox_mode"),
    *(b"O", b"O8", b"V8", b"f4", b">f8", b"U3", b"S9", b"U999999", b"M8", b"f4,f4", b"|", b"<"),
]
_NUMBERS = [0, 1, 2, 3, 4, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, -1, -(2**31)]
_LONG = [2**63 - 1, 2**63, -(2**63), 10**30]


class Operation(NamedTuple):
    """One of a pickle.

    Attributes:
        code: its byte.
        argument: the bytes behind it.
    """

    code: bytes
    argument: bytes


def operations_of(pickled: bytes) -> list[Operation]:
    """Take a valid pickle apart."""
    starts = [place for _, _, place in pickletools.genops(pickled)]
    ends = [*starts[1:], len(pickled)]
    return [
        Operation(pickled[start : start + 1], pickled[start + 1 : end])
        for start, end in zip(starts, ends, strict=True)
        if start is not None and end is not None
    ]


def mutated(valid: list[list[Operation]], which: int, choose: random.Random) -> bytes:
    """Change one of some pickles in one to five places.

    Args:
        valid: pickles taken apart; the others lend their operations.
        which: the one to change.
        choose: makes the choices.
    """
    operations = list(valid[which])
    for _ in range(choose.choice((1, 1, 1, 2, 3, 5))):
        change = choose.choice(_CHANGES)
        change(operations, valid, choose)
        if not operations:
            break
    content = b"".join(code + argument for code, argument in operations)
    if choose.random() < 0.05:
        content = content[: choose.randrange(len(content) + 1)]
    if choose.random() < 0.1 and content:
        damaged = bytearray(content)
        damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        content = bytes(damaged)
    return content


def _delete(operations: list[Operation], _: object, choose: random.Random) -> None:
    first = choose.randrange(len(operations))
    del operations[first : first + choose.choice((1, 1, 2, 6))]


def _duplicate(operations: list[Operation], _: object, choose: random.Random) -> None:
    first = choose.randrange(len(operations))
    part = operations[first : first + choose.choice((1, 2, 8))]
    operations[first:first] = part * choose.choice((1, 1, 2, 40))


def _swap(operations: list[Operation], _: object, choose: random.Random) -> None:
    one, other = choose.randrange(len(operations)), choose.randrange(len(operations))
    operations[one], operations[other] = operations[other], operations[one]


def _move(operations: list[Operation], _: object, choose: random.Random) -> None:
    moved = operations.pop(choose.randrange(len(operations)))
    operations.insert(choose.randrange(len(operations) + 1), moved)


def _recode(operations: list[Operation], _: object, choose: random.Random) -> None:
    place = choose.randrange(len(operations))
    operations[place] = operations[place]._replace(code=choose.choice(_CODES))


def _insert(operations: list[Operation], _: object, choose: random.Random) -> None:
    operations.insert(choose.randrange(len(operations) + 1), _made_up(choose))


def _replace(operations: list[Operation], _: object, choose: random.Random) -> None:
    operations[choose.randrange(len(operations))] = _made_up(choose)


def _splice(
    operations: list[Operation], valid: list[list[Operation]], choose: random.Random
) -> None:
    lender = choose.choice(valid)
    first = choose.randrange(len(lender))
    part = lender[first : first + choose.randrange(1, 12)]
    place = choose.randrange(len(operations))
    operations[place : place + choose.choice((0, len(part)))] = part


def _argue(operations: list[Operation], _: object, choose: random.Random) -> None:
    """Change the argument of an operation that has one."""
    places = [place for place, operation in enumerate(operations) if operation.argument]
    if not places:
        return
    place = choose.choice(places)
    code, argument = operations[place]
    if choose.random() < 0.6:
        operations[place] = Operation(code, _argument(code, choose))
        return
    damaged = bytearray(argument)
    damaged[choose.randrange(len(damaged))] = choose.choice((0, 1, 127, 128, 255))
    operations[place] = Operation(code, bytes(damaged))


_CHANGES = (_delete, _duplicate, _swap, _move, _recode, _insert, _replace, _splice, _argue, _argue)


def _made_up(choose: random.Random) -> Operation:
    code = choose.choice(_CODES)
    return Operation(code, _argument(code, choose))


def _argument(code: bytes, choose: random.Random) -> bytes:
    """An argument of the form that an operation takes, with a value that may matter."""
    kind = pickletools.code2op[code.decode("latin1")].arg
    if kind is None:
        return b""
    name = choose.choice(_NAMES)
    number = choose.choice(_NUMBERS)
    if kind.name in ("stringnl_noescape_pair",):
        return name + b"\n" + choose.choice(_NAMES) + b"\n"
    if kind.name in ("decimalnl_short", "decimalnl_long", "floatnl"):
        return b"%d\n" % choose.choice(_NUMBERS + _LONG)
    if kind.name.endswith("nl") or kind.n == pickletools.UP_TO_NEWLINE:
        return choose.choice((b"'%s'\n", b"%s\n")) % name
    if kind.name == "float8":
        return struct.pack(">d", choose.choice((0.0, -1.5, float("nan"), float("inf"), 1e300)))
    if kind.n > 0:
        return (number % 256**kind.n).to_bytes(kind.n, "little")
    size = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}
    return len(name).to_bytes(size.get(kind.n, 4), "little") + name
