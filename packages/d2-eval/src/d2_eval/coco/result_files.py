"""Files in COCO's result format."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2_eval.prediction_values import report_unusual_scores, scores_of
from d2_ops.host import CocoResults, read_coco_results


def read_result_columns(path: Path) -> CocoResults | Sequence[dict[str, Any]]:
    """Read a file in COCO's result format, as columns where it is regular.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_results`.
    """
    if path.is_file() and path.stat().st_size:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            columns = read_coco_results(memoryview(text))
        if columns is not None:
            report_unusual_scores(columns.scores, str(path))
            return columns
    return read_results(path)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read a file in COCO's result format.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, not JSON, or no list of objects.
    """
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder; wanted a file of predictions in COCO's result format"
        )
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of predictions {str(path)!r}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"the file of predictions {str(path)!r} is not valid JSON ({error}); it may have "
            "been cut short: write or fetch it again"
        ) from error
    wanted = "wanted COCO's result format, a list of objects with image_id, category_id and score"
    if not isinstance(content, list):
        got = f"an object with {sorted(content)[:6]}" if isinstance(content, dict) else content
        raise ValueError(f"{str(path)!r} holds {got}; {wanted}")
    for index, result in enumerate(content):
        if not isinstance(result, dict):
            raise ValueError(f"result {index} in {str(path)!r} is {result!r}; {wanted}")
    report_unusual_scores(scores_of(content), str(path))
    return content
