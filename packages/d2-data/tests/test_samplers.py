import itertools
import os
import pathlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)
GOLDEN = SHARED / "golden" / "data_transforms.pt"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_file(), reason="needs the folder of reference values ($D2_SHARED)"
)
MODEST = settings(max_examples=30, deadline=None)


@pytest.fixture
def process(monkeypatch):
    """Pretend to be process ``rank`` of ``world_size``."""
    from d2_structures import comm

    def pretend(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return pretend


def take(sampler, count):
    return list(itertools.islice(sampler, count))


@needs_golden
def test_sequences_equal_the_original():
    golden = torch.load(GOLDEN, weights_only=True)["samplers"]
    assert take(TrainingSampler(10, seed=42), 30) == golden["training_seed42_n10"]
    repeated = RepeatFactorTrainingSampler(torch.tensor([1.0, 1.5, 2.2, 1.0]), seed=42)
    assert take(repeated, 20) == golden["repeat"]
    assert list(InferenceSampler(7)) == golden["inference"]


@MODEST
@given(st.integers(1, 30), st.integers(0, 2**31 - 1))
def test_each_round_has_every_index_once(size, seed):
    stream = take(TrainingSampler(size, seed=seed), 3 * size)
    for start in range(0, 3 * size, size):
        assert sorted(stream[start : start + size]) == list(range(size))


def test_rounds_longer_than_a_piece_are_whole():
    size = 10_000
    stream = list(itertools.islice(TrainingSampler(size, seed=3), 2 * size))
    generator = torch.Generator().manual_seed(3)
    assert stream[:size] == torch.randperm(size, generator=generator).tolist()
    assert stream[size:] == torch.randperm(size, generator=generator).tolist()


def test_unshuffled_rounds_are_in_order():
    assert take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]
    factors = torch.tensor([1.0, 2.0])
    assert take(RepeatFactorTrainingSampler(factors, shuffle=False), 4) == [0, 1, 1, 0]


def test_sampler_can_be_iterated_again():
    sampler = TrainingSampler(10, seed=1)
    assert take(sampler, 15) == take(sampler, 15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingSampler(10, seed=3),
        lambda: RepeatFactorTrainingSampler(torch.full((10,), 1.5), seed=3),
        lambda: RandomSubsetTrainingSampler(25, 0.4, seed_shuffle=3, seed_subset=4),
    ],
)
def test_processes_share_the_stream_out(process, make):
    whole = take(make(), 30)
    for rank in range(3):
        process(rank, 3)
        assert take(make(), 10) == whole[rank::3]


@pytest.mark.parametrize(("size", "world_size"), [(7, 3), (2, 4), (0, 2), (8, 2)])
def test_inference_parts_are_exact_and_even(process, size, world_size):
    parts = []
    for rank in range(world_size):
        process(rank, world_size)
        sampler = InferenceSampler(size)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1])
    assert [index for part in parts for index in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ones_repeat_like_the_training_sampler():
    stream = take(RepeatFactorTrainingSampler(torch.ones(8), seed=0), 16)
    assert sorted(stream[:8]) == sorted(stream[8:]) == list(range(8))


def test_fractions_are_drawn_with_their_probability():
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.25]), seed=0)
    stream = take(sampler, 6500)
    ratio = stream.count(1) / stream.count(0)
    assert ratio == pytest.approx(2.25, abs=0.1)


def test_repeat_factor_is_that_of_the_rarest_category():
    def image(*categories):
        return {"annotations": [{"category_id": c} for c in categories]}

    dicts = [image(0), image(0, 0), image(0, 1), image(), {}]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dicts, 0.45)
    # Category 0 is in 3 of 5 images, category 1 in 1 of 5.
    expected = [1, 1, (0.45 / 0.2) ** 0.5, 1, 1]
    torch.testing.assert_close(factors, torch.tensor(expected))


@MODEST
@given(st.integers(1, 40), st.floats(0.01, 1), st.integers(0, 999))
def test_subset_is_drawn_once_and_comes_whole_in_each_round(size, ratio, seed):
    sampler = RandomSubsetTrainingSampler(size, ratio, seed_shuffle=seed, seed_subset=5)
    count = max(int(size * ratio), 1)
    rounds = [take(sampler, 3 * count)[start : start + count] for start in (0, count, 2 * count)]
    assert len(set(rounds[0])) == count
    assert {frozenset(indices) for indices in rounds} == {frozenset(rounds[0])}
    again = RandomSubsetTrainingSampler(size, ratio, False, seed_shuffle=seed + 1, seed_subset=5)
    assert frozenset(take(again, count)) == frozenset(rounds[0])


def test_seed_of_the_subset_and_of_the_shuffles_are_two():
    def first(seed_shuffle, seed_subset):
        sampler = RandomSubsetTrainingSampler(
            100, 0.2, seed_shuffle=seed_shuffle, seed_subset=seed_subset
        )
        return take(sampler, 20)

    assert sorted(first(1, 3)) == sorted(first(2, 3))
    assert first(1, 3) != first(2, 3)
    assert sorted(first(1, 3)) != sorted(first(1, 4))


def test_a_drawn_seed_can_be_read_and_set():
    first, second = TrainingSampler(50), TrainingSampler(50, seed=1)
    second.seed = first.seed
    assert take(first, 100) == take(second, 100)


@pytest.mark.parametrize("size", [0, -3])
def test_empty_dataset_is_refused(size):
    with pytest.raises(ValueError, match="the dataset is empty"):
        TrainingSampler(size)


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"size must be an int, got 2\.5"):
        TrainingSampler(2.5)
    for bad_ratio in (0, 1.5, -0.1):
        with pytest.raises(ValueError, match=r"subset_ratio lies in \(0, 1\]"):
            RandomSubsetTrainingSampler(10, bad_ratio)
    with pytest.raises(ValueError, match="must not be negative"):
        InferenceSampler(-1)
    for bad in (torch.ones(2, 2), torch.ones(0), torch.tensor([-1.0])):
        with pytest.raises(ValueError, match="non-empty vector of factors >= 0"):
            RepeatFactorTrainingSampler(bad)


def test_the_parts_of_all_processes_are_the_whole():
    parts = [InferenceSampler._get_local_indices(10, 4, rank) for rank in range(4)]
    assert [index for part in parts for index in part] == list(range(10))
    assert [len(part) for part in parts] == [3, 3, 2, 2]
