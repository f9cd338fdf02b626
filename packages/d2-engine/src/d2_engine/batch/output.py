"""Parquet files with what was found: one for each part, there whole or not at all."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from d2_config.files import replacing
from d2_engine.batch.extra import import_extra
from d2_eval import instances_to_coco_json
from d2_structures import Instances

_ROWS_AT_ONCE = 256


def part_file(folder: str | os.PathLike[str], number: int) -> Path:
    """Return the path of a part's file."""
    return Path(folder, f"part-{number:06d}.parquet")


def row_of(name: str, size: tuple[int, int], instances: Instances) -> dict[str, Any]:
    """Return the row of a picture.

    Args:
        name: of the picture.
        size: height and width of the picture.
        instances: on the CPU.
    """
    found = instances_to_coco_json(instances, name)
    keypoints = None
    if instances.has("pred_keypoints"):
        keypoints = instances.pred_keypoints.to(torch.float32).flatten(1).tolist()
    return {
        "picture": name,
        "height": size[0],
        "width": size[1],
        "error": None,
        "boxes": instances.pred_boxes.tensor.tolist(),
        "scores": instances.scores.tolist(),
        "classes": instances.pred_classes.tolist(),
        "masks": [f["segmentation"] for f in found] if instances.has("pred_masks") else None,
        "keypoints": keypoints,
    }


def row_of_failure(name: str, error: str) -> dict[str, Any]:
    """Return the row of a picture with which nothing could be done."""
    return {"picture": name, "error": error}


def write_part(
    path: Path, rows: Iterable[dict[str, Any]], class_names: Sequence[str]
) -> dict[str, int]:
    """Write the rows of a part as they come.

    Args:
        path: its file.
        rows: of :func:`row_of` and :func:`row_of_failure`.
        class_names: kept in the file's metadata, as JSON under ``classes``.

    Returns:
        How many ``pictures``, how many of them ``failed``, and how many ``instances``.
    """
    parquet = import_extra("pyarrow.parquet")
    schema = _schema().with_metadata({"classes": json.dumps(list(class_names))})
    counts = {"pictures": 0, "failed": 0, "instances": 0}
    with (
        replacing(path) as temporary,
        parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        waiting: list[dict[str, Any]] = []
        for row in rows:
            counts["pictures"] += 1
            counts["failed"] += row["error"] is not None
            counts["instances"] += len(row.get("scores") or ())
            waiting.append(row)
            if len(waiting) == _ROWS_AT_ONCE:
                writer.write_table(_table(waiting, schema))
                waiting = []
        writer.write_table(_table(waiting, schema))
    return counts


def read_predictions(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Give the rows of a batch, in the order of its parts, with little memory.

    Args:
        folder: with the files of :func:`~d2_engine.batch.predict`; any other reader of Parquet
            reads them as well.

    Yields:
        One dict for each picture: ``picture``, ``height``, ``width``, ``error`` (None, or why
        nothing could be done with it: the others are then None); per instance ``boxes`` (XYXY
        pixels, or the five numbers of rotated ones), ``scores``, ``classes`` (0 … K − 1),
        ``masks`` (COCO's compressed run lengths, ``size`` and ``counts``) and ``keypoints`` (x, y
        in continuous pixels and score, one after the other); the last two are None of models
        without them.

    Raises:
        FileNotFoundError: if there are no parts in the folder.
    """
    paths = sorted(Path(folder).glob("part-*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{os.fspath(folder)} has no part-*.parquet of d2 predict")
    parquet = import_extra("pyarrow.parquet")
    for path in paths:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield from batch.to_pylist()


def count_part(path: Path) -> dict[str, int]:
    """Return how many ``pictures`` a part has, and how many of them ``failed``."""
    parquet = import_extra("pyarrow.parquet")
    errors = parquet.read_table(path, columns=["error"])["error"]
    return {"pictures": len(errors), "failed": len(errors) - errors.null_count}


def _table(rows: list[dict[str, Any]], schema: Any) -> Any:
    return import_extra("pyarrow").Table.from_pylist(rows, schema=schema)


def _schema() -> Any:
    pa = import_extra("pyarrow")
    numbers = pa.list_(pa.float32())
    mask = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    return pa.schema(
        [
            pa.field("picture", pa.string(), nullable=False),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("error", pa.string()),
            ("boxes", pa.list_(numbers)),
            ("scores", numbers),
            ("classes", pa.list_(pa.int32())),
            ("masks", pa.list_(mask)),
            ("keypoints", pa.list_(numbers)),
        ]
    )
