"""Endless streams of indices for training."""

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from d2_structures import comm

__all__ = ["RandomSubsetTrainingSampler", "RepeatFactorTrainingSampler", "TrainingSampler"]

_PIECE = 4096


class _SharedStream(Sampler[int], ABC):
    """A stream on which all processes agree, shared out: process r of n gets every n-th index.

    Attributes:
        seed (int): of the draws. A loader that is resumed sets it, so that a stream whose seed
            was drawn goes on as well.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        rounds = itertools.chain.from_iterable(self._rounds(generator))
        return itertools.islice(rounds, self._rank, None, self._world_size)

    @abstractmethod
    def _rounds(self, generator: torch.Generator) -> Iterator[Iterable[int]]:
        """The indices of each round, without end."""


def _in_pieces(indices: torch.Tensor) -> Iterator[int]:
    """The elements of a vector; a list of them all would take five times the memory."""
    for piece in indices.split(_PIECE):
        yield from piece.tolist()


class TrainingSampler(_SharedStream):
    """An endless stream of indices, shared out among the processes.

    All processes agree on the stream shuffle(range(size)) + shuffle(range(size)) + …, or
    range(size) + range(size) + … without shuffling; process r of n gets every n-th
    index, from the r-th on.

    Args:
        size: length of the dataset.
        shuffle: whether to shuffle each round.
        seed: of the shuffles; must be the same in all processes. When None, the
            processes agree on a random one.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        _check_size(type(self).__name__, size)
        super().__init__(seed)
        self._size = size
        self._shuffle = shuffle

    def _rounds(self, generator: torch.Generator) -> Iterator[Iterable[int]]:
        while True:
            if self._shuffle:
                yield _in_pieces(torch.randperm(self._size, generator=generator))
            else:
                yield range(self._size)


class RandomSubsetTrainingSampler(_SharedStream):
    """As :class:`TrainingSampler`, over a subset of the dataset that is drawn once.

    Args:
        size: length of the dataset.
        subset_ratio: share of the dataset that is used, in (0, 1]; at least one sample.
        shuffle: whether to shuffle each round.
        seed_shuffle: of the shuffles; must be the same in all processes. When None, the
            processes agree on a random one.
        seed_subset: of the subset, likewise.
    """

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ) -> None:
        _check_size(type(self).__name__, size)
        if not 0 < subset_ratio <= 1:
            raise ValueError(
                f"RandomSubsetTrainingSampler: subset_ratio lies in (0, 1], got {subset_ratio!r}"
            )
        super().__init__(seed_shuffle)
        self._shuffle = shuffle
        self.seed_subset = comm.shared_random_seed() if seed_subset is None else int(seed_subset)
        generator = torch.Generator().manual_seed(self.seed_subset)
        count = max(int(size * subset_ratio), 1)
        self._subset = torch.randperm(size, generator=generator)[:count]

    def _rounds(self, generator: torch.Generator) -> Iterator[Iterable[int]]:
        while True:
            subset = self._subset
            if self._shuffle:
                subset = subset[torch.randperm(len(subset), generator=generator)]
            yield _in_pieces(subset)


def _check_size(sampler: str, size: int) -> None:
    if not isinstance(size, int):
        raise TypeError(f"{sampler}: size must be an int, got {size!r}")
    if size <= 0:
        raise ValueError(f"{sampler}: the dataset is empty (size {size})")


class RepeatFactorTrainingSampler(_SharedStream):
    """As :class:`TrainingSampler`, but samples appear more often by their repeat factor.

    In each round a sample of factor 2.3 appears twice, and a third time with a
    probability of 0.3.

    Args:
        repeat_factors: (N,) float, one for each sample. Ones make it a
            :class:`TrainingSampler`.
        shuffle: whether to shuffle each round.
        seed: of the draws; must be the same in all processes. When None, the processes
            agree on a random one.
    """

    def __init__(
        self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None
    ) -> None:
        factors = torch.as_tensor(repeat_factors, dtype=torch.float32)
        if factors.ndim != 1 or not len(factors) or bool((factors < 0).any()):
            raise ValueError(
                "RepeatFactorTrainingSampler wants a non-empty vector of factors >= 0, got shape "
                f"{tuple(factors.shape)}"
            )
        super().__init__(seed)
        self._whole = factors.trunc()
        self._fraction = factors - self._whole
        self._shuffle = shuffle

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: Sequence[dict[str, Any]], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """Repeat factor of each image from the rarest category in it.

        With f(c) the fraction of images in which category c appears, a category's factor
        is max(1, sqrt(repeat_thresh / f(c))), an image's the largest of its categories'.

        Args:
            dataset_dicts: annotated, in the standard dataset format.
            repeat_thresh: categories in a smaller fraction of images are repeated.
            sqrt: whether to take the square root; without it rare categories weigh more.

        Returns:
            (N,) float32; 1 for images without annotations.

        Source: Gupta et al., "LVIS", 2019, appendix B.2.
        """
        categories_of = [
            {annotation["category_id"] for annotation in record.get("annotations", ())}
            for record in dataset_dicts
        ]
        images_with = Counter(itertools.chain.from_iterable(categories_of))
        exponent = 0.5 if sqrt else 1.0
        factor_of = {
            category: max(1.0, (repeat_thresh * len(dataset_dicts) / count) ** exponent)
            for category, count in images_with.items()
        }
        return torch.tensor(
            [
                max((factor_of[category] for category in categories), default=1.0)
                for categories in categories_of
            ],
            dtype=torch.float32,
        )

    def _rounds(self, generator: torch.Generator) -> Iterator[Iterable[int]]:
        while True:
            drawn = torch.rand(len(self._fraction), generator=generator) < self._fraction
            repeats = (self._whole + drawn).long()
            indices = torch.arange(len(repeats)).repeat_interleave(repeats)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield _in_pieces(indices)
