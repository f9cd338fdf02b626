"""A list and a sampler as one stream; d2's loaders join them themselves."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info


class ToIterableDataset(IterableDataset[Any]):
    """Yields the elements of a dataset in the order of a sampler.

    Args:
        dataset: with ``__getitem__``.
        sampler: yields indices.
        shard_sampler: whether the processes of a loader share the indices among them, every n-th
            for each; otherwise each yields all.
        shard_chunk_size: how many successive indices a process takes at a time.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: Sampler[int],
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        super().__init__()
        if isinstance(dataset, IterableDataset):
            raise TypeError("ToIterableDataset wants a dataset with indices, this is a stream")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info() if self.shard_sampler else None
        for position, index in enumerate(self.sampler):
            chunk = position // self.shard_chunk_size
            if worker is None or chunk % worker.num_workers == worker.id:
                yield self.dataset[index]

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # samplers of known length have it
