"""Reading a JSON annotation file with errors that name it."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from d2_data.piecewise_json import load_json


def read_json(path: str | os.PathLike[str], *, expected_keys: tuple[str, ...] = ()) -> Any:
    """Parse a JSON file.

    Args:
        path: the file.
        expected_keys: keys that the top-level object must have; with any given, the
            top level must be an object.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not valid JSON, or a key is missing.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise FileNotFoundError(f"annotation file {str(path)!r} is not an ordinary file")
    try:
        with paused_collector():
            content = load_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"annotation file {str(path)!r} does not exist; check the path given when the "
            "dataset was registered, or the folder that $D2_DATASETS points to"
        ) from None
    except RecursionError:
        raise ValueError(
            f"annotation file {str(path)!r} is nested too deeply to be one of annotations"
        ) from None
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise ValueError(
            f"annotation file {str(path)!r} is not valid JSON ({error}); it may have been "
            "cut short: fetch or export it again"
        ) from error
    if expected_keys:
        if not isinstance(content, dict):
            raise ValueError(
                f"annotation file {str(path)!r}: wanted an object with the keys "
                f"{list(expected_keys)} at the top level, got {type(content).__name__}"
            )
        missing = [key for key in expected_keys if key not in content]
        if missing:
            raise ValueError(
                f"annotation file {str(path)!r} lacks {missing}; it has {sorted(content)[:12]}"
            )
    return content


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep the collector of reference cycles from looking through millions of new objects.

    Annotations hold no cycles; looking for them takes nearly half of the time of parsing.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
