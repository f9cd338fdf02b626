"""Batches of images that are all wide or all tall, so that little is padded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from d2_data.list_dataset import DatasetFromList

__all__ = ["AspectRatioGroupedDataset"]

Item = TypeVar("Item")


class AspectRatioGroupedDataset(IterableDataset[list[Any]]):
    """Batches of dicts that agree in whether ``width`` exceeds ``height``.

    Elements wait until a batch of their kind is full; the order within a kind is kept.

    Args:
        dataset: iterable of dicts with "width" and "height".
        batch_size: elements in each batch.
    """

    def __init__(self, dataset: Iterable[dict[str, Any]], batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[Any]]:
        yield from group_by_orientation(self.dataset, self.batch_size, is_wide)


def is_wide(record: dict[str, Any]) -> bool:
    """Whether a dict's ``width`` exceeds its ``height``."""
    try:
        return bool(record["width"] > record["height"])
    except (KeyError, TypeError):
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise KeyError(
            "grouping by aspect ratio needs dicts with 'width' and 'height', got "
            f"{found}; add them or pass aspect_ratio_grouping=False"
        ) from None


class OrientationBuckets(Generic[Item]):
    """Items that wait for a batch of their kind to be full.

    Args:
        batch_size: items in each batch.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._buckets: dict[bool, list[Item]] = {False: [], True: []}

    def add(self, item: Item, wide: bool) -> list[Item] | None:
        """Put an item to its kind; the batch that it completes, if any."""
        bucket = self._buckets[wide]
        bucket.append(item)
        if len(bucket) < self._batch_size:
            return None
        self._buckets[wide] = []
        return bucket

    def waiting(self) -> list[Item]:
        """The items of batches that are not full."""
        return [*self._buckets[False], *self._buckets[True]]


def group_by_orientation(
    items: Iterable[Item], batch_size: int, item_is_wide: Callable[[Item], bool]
) -> Iterator[list[Item]]:
    """Batches in which all items are wide, or none is."""
    buckets: OrientationBuckets[Item] = OrientationBuckets(batch_size)
    for item in items:
        batch = buckets.add(item, item_is_wide(item))
        if batch is not None:
            yield batch


def orientations(dataset: Any) -> Callable[[int], bool] | None:
    """Whether each element is wide, as far as it is known without reading pictures.

    Args:
        dataset: a list of dicts, a :class:`DatasetFromList`, one that has
            ``get_height_and_width(index)``, or a ``ConcatDataset`` or ``Subset`` of such.

    Returns:
        A function of the index, or None where only the elements themselves can tell.

    Raises:
        KeyError: if a dict in a list has no "width" and "height".
    """
    if isinstance(dataset, list):
        wide = np.fromiter(map(is_wide, dataset), bool, len(dataset))
        return wide.item
    if isinstance(dataset, DatasetFromList):
        known = dataset.wide
        # Without knowing, the first element that cannot tell says what it lacks.
        return (lambda index: is_wide(dataset[index])) if known is None else known.item
    if isinstance(dataset, Subset):
        whole, indices = orientations(dataset.dataset), dataset.indices
        return None if whole is None else lambda index: whole(indices[index])
    if isinstance(dataset, ConcatDataset):
        return _of_parts(
            [orientations(part) for part in dataset.datasets], dataset.cumulative_sizes
        )
    size_of = getattr(dataset, "get_height_and_width", None)
    if size_of is None:
        return None

    def size_says(index: int) -> bool:
        height, width = size_of(index)
        return bool(width > height)

    return size_says


def _of_parts(
    parts: Sequence[Callable[[int], bool] | None], ends: Sequence[int]
) -> Callable[[int], bool] | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None

    def part_says(index: int) -> bool:
        number = int(np.searchsorted(ends, index, side="right"))
        return known[number](index - (ends[number - 1] if number else 0))

    return part_says
