"""Records in the standard dataset format as bytes: small, and equal when they come back.

Of the annotations the coordinates (boxes, polygons, keypoints), which are most of a record, become
arrays, and the other fields columns. Numbers with at most two decimals, as COCO's have, are kept as
hundredths in the smallest type that holds them, others as they are; each comes back as an equal
float. What is the same in many records is kept once.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, compress, islice, pairwise, repeat
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from d2_structures import BoxMode

CHUNK = 128
"""How many records are best packed at a time."""

_COORDINATES = frozenset(("bbox", "segmentation", "keypoints"))
_PLAIN = frozenset((int, bool, str, BoxMode))
_TYPES = (np.dtype(np.uint16), np.dtype(np.int32), np.dtype(np.float64))
_LARGEST = (np.iinfo(np.uint16).max, np.iinfo(np.int32).max)
_FLOAT = 2
"""Number of the type that keeps numbers as they are; the others hold hundredths."""


class Same(NamedTuple):
    """A field that has one value in all annotations."""

    value: Any


class Numbers(NamedTuple):
    """A field that holds lists of numbers, or lists of such lists.

    Attributes:
        number_type: in which the numbers are kept.
        nested: whether they are lists of lists.
        length: of all lists, or None if they differ.
        each: how many lists are in all lists of lists, or None if they differ.
        others: whether a record may have values that are no lists.
    """

    number_type: int
    nested: bool
    length: int | None
    each: int | None
    others: bool


Field = Same | Numbers | None
"""How a field is kept; None for as it is."""

Template = tuple[tuple[str, Field], ...]
"""The fields of annotations, and how they are kept."""

Bounds = tuple[int, int]
"""Where the annotations of a record begin and end among those of several."""


class RecordPacker:
    """Turns records into bytes.

    Attributes:
        templates: what is needed beside the bytes to get the records back.
    """

    def __init__(self) -> None:
        self.templates: list[Template] = []
        self._numbers: dict[Template, int] = {}

    def pack(self, records: Sequence[Any]) -> Iterator[tuple[bytes, bytes]]:
        """Pack some records, best :data:`CHUNK` at a time.

        Args:
            records: dicts in the standard dataset format, or anything that can be pickled.

        Yields:
            What is left of each without its coordinates, and these; b"" where it has none or is of
            another form.
        """
        have = list(map(_has_annotations, records))
        annotated = list(compress(records, have))
        try:
            packed = iter(self._pack_alike(annotated) if annotated else ())
        except (KeyError, ValueError, struct.error):  # other fields in some, or not only numbers
            if len(annotated) > 1:
                packed = chain.from_iterable(self.pack([record]) for record in annotated)
            else:
                packed = iter([(_pickled(record), b"") for record in annotated])
        if len(annotated) == len(records):
            yield from packed
            return
        for record, has_some in zip(records, have, strict=True):
            yield next(packed) if has_some else (_pickled(record), b"")

    def _pack_alike(self, records: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
        """Pack records whose annotations all have the same fields."""
        lists = [record["annotations"] for record in records]
        annotations = list(chain.from_iterable(lists))
        if set(map(type, annotations)) != {dict}:
            raise ValueError("annotations that are no dicts")
        names = tuple(annotations[0])
        if len(names) < 2 or set(map(len, annotations)) != {len(names)}:
            raise ValueError("annotations of different fields")
        bounds = list(pairwise(accumulate(map(len, lists), initial=0)))
        template: list[tuple[str, Field]] = []
        varying: list[Iterable[Any]] = []
        numbers: list[Iterable[bytes]] = []
        columns = zip(*map(itemgetter(*names), annotations), strict=True)
        for name, column in zip(names, columns, strict=True):
            if name in _COORDINATES:
                coordinates = _Coordinates(column)
                template.append((name, coordinates.field))
                varying += coordinates.layout(bounds)
                numbers.append(coordinates.content(bounds))
            elif type(column[0]) in _PLAIN and column.count(column[0]) == len(column):
                template.append((name, Same(column[0])))
            else:
                template.append((name, None))
                varying.append([column[begin:end] for begin, end in bounds])
        number = self._number_of(tuple(template))
        rests = zip(*varying, strict=True) if varying else repeat(())
        contents = map(b"".join, zip(*numbers, strict=True)) if numbers else repeat(b"")
        return [
            (
                _pickled(({**record, "annotations": None}, number, end - begin, rest)),
                content or _NO_NUMBERS,
            )
            for record, (begin, end), rest, content in zip(records, bounds, rests, contents)  # noqa: B905  # two of them may be endless
        ]

    def _number_of(self, template: Template) -> int:
        number = self._numbers.get(template)
        if number is None:
            number = self._numbers[template] = len(self.templates)
            self.templates.append(template)
        return number


def unpack(rest: Any, numbers: Any, templates: Sequence[Template]) -> Any:
    """The record that :class:`RecordPacker` turned into bytes.

    Args:
        rest: what was left without the coordinates, bytes or a buffer of them.
        numbers: of the coordinates, the same.
        templates: of the packer.
    """
    content = pickle.loads(rest)
    if not len(numbers):
        return content
    record, template, count, varying = content
    following = iter(varying)
    position = 0
    alike: dict[str, Any] = {}
    columns = []
    for name, field in templates[template]:
        alike[name] = None
        if type(field) is Same:
            alike[name] = field.value
        elif field is None:
            columns.append((name, next(following)))
        else:
            assert type(field) is Numbers
            lists, position = _lists(field, count, following, numbers, position)
            columns.append((name, lists))
    annotations = [alike.copy() for _ in range(count)]
    for name, values in columns:
        for annotation, value in zip(annotations, values):  # noqa: B905  # a third faster
            annotation[name] = value
    record["annotations"] = annotations
    return record


_NO_NUMBERS = b"-"


class _Coordinates:
    """A field of many annotations that holds lists of numbers, or lists of such lists.

    Attributes:
        field: how it is kept.
    """

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._others: dict[int, Any] = {}
        lists: Sequence[Any] = values
        if set(map(type, values)) != {list}:
            self._others = {i: value for i, value in enumerate(values) if type(value) is not list}
            lists = [[] if i in self._others else value for i, value in enumerate(values)]
        first = next(filter(None, lists), None)
        nested = first is not None and type(first[0]) is list
        self._first_list: Sequence[int] = range(len(lists) + 1)
        if nested:
            self._counts = list(map(len, lists))
            self._first_list = list(accumulate(self._counts, initial=0))
            lists = list(chain.from_iterable(lists))
            if set(map(type, lists)) != {list}:
                raise ValueError("lists and numbers side by side")
        self._lengths = list(map(len, lists))
        self._first_number = list(accumulate(self._lengths, initial=0))
        number_type, self._content = _in_smallest_type(_doubles(lists, self._lengths))
        self._size = _TYPES[number_type].itemsize
        length = _only(self._lengths)
        count = _only(self._counts) if nested else None
        self.field = Numbers(number_type, nested, length, count, bool(self._others))

    def layout(self, bounds: list[Bounds]) -> list[list[Any]]:
        """What :func:`_lists` needs to know beside the field, each for all records.

        Args:
            bounds: of the annotations of each record.
        """
        layout: list[list[Any]] = []
        first_list = self._first_list
        if self.field.nested and self.field.each is None:
            layout.append([self._counts[begin:end] for begin, end in bounds])
        if self.field.length is None:
            lengths = self._lengths
            layout.append([lengths[first_list[begin] : first_list[end]] for begin, end in bounds])
        if self.field.others:
            others = self._others.items()
            layout.append([{i - b: v for i, v in others if b <= i < e} for b, e in bounds])
        return layout

    def content(self, bounds: list[Bounds]) -> list[bytes]:
        """The numbers of each record."""
        size, firsts = self._size, self._first_number
        ends = [size * firsts[self._first_list[end]] for _, end in bounds]
        return [self._content[begin:end] for begin, end in pairwise([0, *ends])]


def _lists(
    field: Numbers, count: int, layout: Iterator[Any], numbers: Any, position: int
) -> tuple[list[Any], int]:
    """The values of a field of ``count`` annotations, and the place behind their numbers."""
    number_type, nested, length, lists_each, has_others = field
    counts = None
    if nested:
        counts = next(layout) if lists_each is None else [lists_each] * count
        count = sum(counts)
    lengths = next(layout) if length is None else None
    total = sum(lengths) if lengths is not None else count * (length or 0)
    values: Any = np.zeros(0)
    if total:
        values = np.frombuffer(numbers, _TYPES[number_type], total, position)
    restored = (values if number_type == _FLOAT else values / 100).tolist()
    if lengths is None:
        step = length or 1
        lists = [restored[i : i + step] for i in range(0, count * step, step)]
    else:
        lists = []
        begin = 0
        for size in lengths:
            lists.append(restored[begin : begin + size])
            begin += size
    if lists_each == 1:
        lists = [[part] for part in lists]
    elif counts is not None:
        parts = iter(lists)
        lists = [list(islice(parts, each)) for each in counts]
    if has_others:
        for index, other in next(layout).items():
            lists[index] = other
    return lists, position + total * _TYPES[number_type].itemsize


def _only(lengths: list[int]) -> int | None:
    """The length that all have, if there is one and it is not 0."""
    return lengths[0] if lengths[0] and lengths.count(lengths[0]) == len(lengths) else None


def _doubles(lists: Sequence[list[Any]], lengths: list[int]) -> bytes:
    """The numbers of all lists.

    Raises:
        struct.error: if something is no number.
    """
    total = sum(lengths)
    if total < 8 * len(lists):
        return struct.pack(f"={total}d", *chain.from_iterable(lists))
    # Numbers that are far apart in memory are looked at once.
    packers = zip(map(_packers.__getitem__, lengths), lists, strict=True)
    return b"".join([pack(*numbers) for pack, numbers in packers])


class _Packers(dict[int, Callable[..., bytes]]):
    """What turns so many numbers into doubles."""

    def __missing__(self, count: int) -> Callable[..., bytes]:
        self[count] = pack = struct.Struct(f"={count}d").pack
        return pack


_packers = _Packers()


def _in_smallest_type(doubles: bytes) -> tuple[int, bytes]:
    """The number of the type that holds all numbers, and their bytes."""
    values = np.frombuffer(doubles, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        hundredths = values * 100
        np.rint(hundredths, out=hundredths)
        exact = (hundredths / 100 == values).all()
    low, high = hundredths.min(initial=0), hundredths.max(initial=0)
    if exact and low >= 0 and high <= _LARGEST[0]:
        return 0, hundredths.astype(_TYPES[0]).tobytes()
    if exact and max(-low, high) <= _LARGEST[1]:
        return 1, hundredths.astype(_TYPES[1]).tobytes()
    return _FLOAT, doubles


def _has_annotations(record: Any) -> bool:
    annotations = record.get("annotations") if type(record) is dict else None
    return type(annotations) is list and bool(annotations)


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
