"""Batches of images that are all wide or all tall, so that little is padded."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torch.utils.data import IterableDataset

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


def group_by_orientation(
    items: Iterable[Item], batch_size: int, item_is_wide: Callable[[Item], bool]
) -> Iterator[list[Item]]:
    """Batches in which all items are wide, or none is."""
    buckets: dict[bool, list[Item]] = {False: [], True: []}
    for item in items:
        bucket = buckets[item_is_wide(item)]
        bucket.append(item)
        if len(bucket) == batch_size:
            yield bucket.copy()
            bucket.clear()
