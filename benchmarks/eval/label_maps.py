"""Panoptic overlaps, semantic confusion and encoded masks: per image, and how they scale.

panopticapi's inner step, counting the pairs of labels of an image by ``numpy.unique``, is written
out here as the peer: the package is on no index. The confusion matrix stands beside a copy of the
same memory, encoding of masks in column order beside hotcoco where that is installed. CPU time on
one thread; threads by the clock, which says little where others use the cores, and by the time of
all processors, of which threads must not take more.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import numpy as np
from _paired import Paired, measure_pairs, report

from d2_ops import host

HEIGHT, WIDTH, CLASSES = 800, 1216, 133


def label_maps() -> tuple[np.ndarray, np.ndarray]:
    """Segments of two maps: 60 ellipses over each other, and the same moved a little."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    truth, found = (np.zeros((HEIGHT, WIDTH), np.int64) for _ in range(2))
    for number in range(1, 61):
        (y, x), (a, b) = rng.uniform(0, (HEIGHT, WIDTH)), rng.uniform(20, 160, 2)
        truth[((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1] = number
        y, x = np.array([y, x]) + rng.normal(0, 8, 2)
        found[((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1] = number + 1000
    return truth, found


def by_unique(truth: np.ndarray, found: np.ndarray) -> dict[tuple[int, int], int]:
    """Overlaps as panopticapi counts them."""
    offset = 256**3
    pairs = truth.astype(np.uint64) * offset + found.astype(np.uint64)
    labels, counts = np.unique(pairs, return_counts=True)
    return {
        (int(label // offset), int(label % offset)): int(count)
        for label, count in zip(labels, counts, strict=True)
    }


def equal(truth: np.ndarray, found: np.ndarray) -> bool:
    ours = host.panoptic_intersections(truth, found)
    pairs = zip(ours.ground_truth_ids.tolist(), ours.prediction_ids.tolist(), strict=True)
    return dict(zip(pairs, ours.areas.tolist(), strict=True)) == by_unique(truth, found)


def copy_all(copies: list[np.ndarray], maps: list[np.ndarray]) -> None:
    for copy, one in zip(copies, maps, strict=True):
        np.copyto(copy, one)


def main() -> None:
    truth, found = label_maps()
    assert equal(truth, found)
    cpu: dict[str, Any] = {"clock": time.process_time}
    rows: dict[str, Paired] = {
        "panoptic overlaps of an image, one thread": measure_pairs(
            lambda: host.panoptic_intersections(truth, found, num_threads=1),
            lambda: by_unique(truth, found),
            **cpu,
        )
    }
    cores = os.cpu_count() or 1
    wide = np.tile(truth, (4, 4)), np.tile(found, (4, 4))
    on_threads = [
        lambda: host.panoptic_intersections(*wide, num_threads=cores),
        lambda: host.panoptic_intersections(*wide, num_threads=1),
    ]
    rows[f"panoptic overlaps of 16 images, {cores} threads against 1"] = measure_pairs(*on_threads)
    rows["the same, time of all processors"] = measure_pairs(*on_threads, **cpu)
    for dtype in (np.uint8, np.int64):
        maps = [np.tile((labels % CLASSES).astype(dtype), (4, 4)) for labels in (found, truth)]
        copies = [np.empty_like(one) for one in maps]
        name = f"confusion matrix of 16 images of {dtype.__name__}, one thread, against copying"
        rows[name] = measure_pairs(
            partial(host.confusion_matrix, *maps, CLASSES, num_threads=1),
            partial(copy_all, copies, maps),
            **cpu,
        )
    try:
        from hotcoco import mask as hotcoco
    except ImportError:
        print("hotcoco is not installed and left out")
    else:
        stack = np.stack([truth == number for number in range(1, 61)], axis=2)
        by_columns = np.asfortranarray(stack.view(np.uint8))
        ours = by_columns.view(np.bool_).transpose(2, 0, 1)
        rows["encoding 60 masks in column order, one thread: hotcoco"] = measure_pairs(
            lambda: host.rle_encode(ours, num_threads=1), lambda: hotcoco.encode(by_columns), **cpu
        )
        texts = [one["counts"] for one in hotcoco.encode(by_columns)]
        texts = [text.encode() if isinstance(text, str) else text for text in texts]
        assert [one["counts"] for one in host.rle_encode(ours)] == texts
    report("eval-label-maps", rows, "peer")


if __name__ == "__main__":
    main()
