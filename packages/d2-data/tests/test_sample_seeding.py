import random

import numpy as np
import torch

from d2_data.sample_seeding import seeded_sample


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def draws_of(seed, position):
    with seeded_sample(seed, position):
        return draws()


def test_draws_depend_on_seed_and_position_alone():
    first = draws_of(1, 2)
    draws_of(5, 5)
    draws()
    assert draws_of(1, 2) == first


def test_seeds_and_positions_give_different_draws():
    drawn = {draws_of(seed, position) for seed in range(5) for position in range(5)}
    assert len(drawn) == 25
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 25


def test_generators_come_back_as_they_were():
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    undisturbed = draws()
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    draws_of(1, 2)
    assert draws() == undisturbed


def test_generators_come_back_after_an_error():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    try:
        with seeded_sample(0, 0):
            raise KeyError
    except KeyError:
        pass
    assert np.random.rand() == expected
