"""Datasets with what subclasses inherit from those of detectron2."""

import random
from typing import Any

import d2_data


class MapDataset(d2_data.MapDataset):
    """`d2_data.MapDataset`, with the elements that may take the place of others."""

    def __init__(self, dataset: Any, map_func: Any, **options: Any) -> None:
        super().__init__(dataset, map_func, **options)
        self._rng = random.Random(42)
        self._fallback_candidates = set(range(len(dataset)))


class AspectRatioGroupedDataset(d2_data.AspectRatioGroupedDataset):
    """`d2_data.AspectRatioGroupedDataset`, with the lists of elements that wait."""

    def __init__(self, dataset: Any, batch_size: int) -> None:
        super().__init__(dataset, batch_size)
        self._buckets: list[list[Any]] = [[], []]
