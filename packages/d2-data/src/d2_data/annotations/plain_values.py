"""Numbers of any library as Python's own, and refusing what is no number."""

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """What a NumPy or torch value holds, as Python's numbers and lists; others as they are."""
    tolist = getattr(value, "tolist", None)
    return value if tolist is None else tolist()


def is_absent(value: Any) -> bool:
    """Whether a whole field says nothing: null, or the NaN that table software writes for it."""
    value = plain(value)
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_number(value: Any) -> bool:
    """Whether a plain value is a finite number; text and truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite_numbers(field: str, values: Any, wanted: str) -> list[float]:
    """The numbers of one field.

    Args:
        field: the field's name, for the message.
        values: a list, tuple, array or tensor.
        wanted: what the field should hold, for the message.

    Returns:
        ``values`` itself if it is a list of Python's numbers, otherwise such a list.

    Raises:
        ValueError: if it holds anything but finite numbers. Its message goes on after the
            annotation's name: "has 'bbox' …".
    """
    numbers = plain(values)
    if isinstance(numbers, tuple) or (
        isinstance(numbers, list) and any(hasattr(number, "tolist") for number in numbers)
    ):
        numbers = [plain(number) for number in numbers]
    if not isinstance(numbers, list) or not all(map(is_number, numbers)):
        raise ValueError(f"has {field!r} {shortened(values)}; wanted {wanted}{_hint(numbers)}")
    return numbers


def whole_number(field: str, value: Any, wanted: str) -> int:
    """A field that holds one whole number, be it written 3, 3.0 or ``np.int64(3)``.

    Raises:
        ValueError: if it is something else, text included.
    """
    number = plain(value)
    if isinstance(number, bool):
        number = int(number)
    if not is_number(number) or number != int(number):
        raise ValueError(f"has {field!r} {shortened(value)}; wanted {wanted}{_hint([number])}")
    return int(number)


def shortened(value: object, limit: int = 120) -> str:
    """A value as it is written in messages."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _hint(values: Any) -> str:
    if isinstance(values, str) or (
        isinstance(values, list) and any(isinstance(value, str) for value in values)
    ):
        return "; a number written as text is not read: write it without quotes"
    if isinstance(values, Mapping):
        return f"; got an object with {sorted(map(str, values))[:8]}"
    if isinstance(values, list) and any(
        isinstance(value, float) and not math.isfinite(value) for value in values
    ):
        return "; NaN and infinity are no places in an image"
    return ""
