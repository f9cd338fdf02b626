"""The dotted name of an object; d2 has it inside of saving configs."""

from typing import Any

from d2_config import locate


def _convert_target_to_string(t: Any) -> str:
    """The shortest dotted name by which an object is found."""
    name = f"{t.__module__}.{t.__qualname__}"
    parts = t.__module__.split(".")
    for length in range(1, len(parts)):
        candidate = ".".join([*parts[:length], t.__qualname__])
        try:
            if locate(candidate) is t:
                return candidate
        except ImportError:
            continue
    return name
