"""Transforms of other libraries are recognised by their class alone."""

import random
import sys

import numpy as np
import pytest
import torch

from d2_data import transforms as T
from d2_data.transforms.other_libraries import augmentation_of, drawn_seed, draws_of


def of_module(module, name="Resize"):
    """An object whose class claims to be of a module."""
    return type(name, (), {"__module__": module})()


def test_what_is_of_no_known_library_is_left_alone():
    before = set(sys.modules)
    for thing in ("flip", 3, None, of_module("torch.nn"), of_module("albumentations_like")):
        assert augmentation_of(thing) is None
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not loaded & {"torchvision", "albumentations"}


def test_error_of_a_list_names_the_libraries():
    with pytest.raises(TypeError, match=r"of torchvision\.transforms\.v2 or albumentations"):
        T.AugmentationList([lambda image: image])


def test_old_transforms_of_torchvision_are_refused_with_the_way_out():
    old = of_module("torchvision.transforms.transforms")
    with pytest.raises(TypeError, match=r"Resize is of .* name in torchvision\.transforms\.v2"):
        T.AugmentationList([old])


def test_draws_follow_a_seed_and_the_generators_stay():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    expected = draw()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    with draws_of(9):
        first = draw()
    with draws_of(9):
        assert draw() == first
    assert draw() == expected
    assert first != expected


def test_seeds_are_drawn_from_numpy_s_generator():
    np.random.seed(5)
    seeds = [drawn_seed() for _ in range(3)]
    np.random.seed(5)
    assert [drawn_seed() for _ in range(3)] == seeds
    assert len(set(seeds)) == 3
