"""The usual destinations of metrics."""

import os

from d2_engine.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter


def default_writers(
    output_dir: str, max_iter: int | None = None, *, images_per_batch: int | None = None
) -> list[EventWriter]:
    """Return a progress printer, ``metrics.json`` and TensorBoard events.

    Args:
        output_dir: folder of the two files; created if needed.
        max_iter: number of iterations, for the ETA.
        images_per_batch: images in one iteration, over all processes, for the images per second.
    """
    return [
        CommonMetricPrinter(max_iter, images_per_batch=images_per_batch),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]
