"""Each sample exactly once, over all processes."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from d2_structures import comm

__all__ = ["InferenceSampler"]


class InferenceSampler(Sampler[int]):
    """The exact set of all samples, split into consecutive parts among the processes.

    Sizes of the parts differ by at most one; the first ones are the larger.

    Args:
        size: length of the dataset.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"InferenceSampler: size must not be negative, got {size}")
        self._size = size
        self._indices = self._get_local_indices(size, comm.get_world_size(), comm.get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        """The part of one of ``world_size`` processes."""
        share, left = divmod(total_size, world_size)
        begin = rank * share + min(rank, left)
        return range(begin, begin + share + (rank < left))

    def __iter__(self) -> Iterator[int]:
        yield from self._indices

    def __len__(self) -> int:
        return len(self._indices)
