"""Batches of indices of one group each; d2 groups the elements by their shapes."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import BatchSampler, Sampler


class GroupedBatchSampler(BatchSampler):
    """Yields batches of indices of one group, in the order in which batches become full.

    Args:
        sampler: yields indices.
        group_ids: the group of each index.
        batch_size: indices in a batch.

    Raises:
        TypeError: if ``sampler`` is no torch Sampler.
    """

    def __init__(self, sampler: Sampler[int], group_ids: Sequence[Any], batch_size: int) -> None:
        if not isinstance(sampler, Sampler):
            raise TypeError(f"GroupedBatchSampler wants a torch Sampler, got {sampler!r}")
        self.sampler = sampler
        self.group_ids = list(group_ids)
        self.batch_size = batch_size
        self.buffer_per_group: dict[Any, list[int]] = {}

    def __iter__(self) -> Iterator[list[int]]:
        for index in self.sampler:
            waiting = self.buffer_per_group.setdefault(self.group_ids[index], [])
            waiting.append(index)
            if len(waiting) == self.batch_size:
                yield waiting[:]
                waiting.clear()

    def __len__(self) -> int:
        raise _NoLengthError("how many batches there are depends on the order of the indices")


class _NoLengthError(NotImplementedError, TypeError):
    """Both what detectron2 raises and what ``list`` expects where there is no length."""
