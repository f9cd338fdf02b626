"""Copies and pickles of every structure keep type and contents; reprs are exact and short."""

import copy
import pickle

import numpy as np
import pytest
import torch

from d2_structures import (
    BitMasks,
    Boxes,
    ImageList,
    Instances,
    Keypoints,
    PolygonMasks,
    RLEMasks,
    ROIMasks,
    RotatedBoxes,
)

POLYGONS = [[[0, 0, 4, 0, 4, 3]], []]
STRUCTURES = {
    "Boxes(tensor([[0., 1., 2., 3.]]))": lambda: Boxes([[0, 1, 2, 3]]),
    "RotatedBoxes(tensor([[0., 1., 2., 3., 4.]]))": lambda: RotatedBoxes([[0, 1, 2, 3, 4]]),
    "BitMasks(num_instances=2, height=4, width=5)": lambda: BitMasks(
        np.eye(4, 5)[None].repeat(2, 0) > 0
    ),
    "PolygonMasks(num_instances=2)": lambda: PolygonMasks(POLYGONS),
    "RLEMasks(num_instances=1, height=3, width=4)": lambda: RLEMasks(
        [{"size": [3, 4], "counts": [2, 5, 5]}]
    ),
    "ROIMasks(num_instances=2, mask_height=7, mask_width=7)": lambda: ROIMasks(torch.rand(2, 7, 7)),
    "Keypoints(num_instances=2, num_keypoints=3)": lambda: Keypoints(torch.ones(2, 3, 3)),
    "ImageList(shape=[1, 3, 4, 5], image_sizes=[(4, 5)])": lambda: ImageList.from_tensors(
        [torch.rand(3, 4, 5)]
    ),
    "Instances(num_instances=2, image_height=4, image_width=5, fields=[a: [1, 2]])": lambda: (
        Instances((4, 5), a=[1, 2])
    ),
}
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "oldest pickle": lambda value: pickle.loads(pickle.dumps(value, 2)),
}


def contents(structure):
    if isinstance(structure, Instances):
        return dict(structure.get_fields())
    if isinstance(structure, PolygonMasks):
        return [[polygon.tolist() for polygon in instance] for instance in structure]
    if isinstance(structure, RLEMasks):
        return structure.to_rle()
    return structure.tensor.tolist()


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("text", STRUCTURES)
def test_copies_keep_type_contents_and_repr(text, copied):
    original = STRUCTURES[text]()
    twin = copied(original)
    assert type(twin) is type(original)
    assert contents(twin) == contents(original)
    assert repr(twin) == repr(original) == text


@pytest.mark.parametrize("text", STRUCTURES)
def test_deep_copies_share_no_memory(text):
    original = STRUCTURES[text]()
    twin = copy.deepcopy(original)
    before = copy.deepcopy(contents(twin))
    if isinstance(original, Instances):
        original.a[0] = 7
    elif isinstance(original, PolygonMasks):
        original.polygons[0][0][:] = 7
    elif isinstance(original, RLEMasks):
        original.rles[0]["counts"] = b"7"
    else:
        original.tensor[:] = 7
    assert contents(twin) == before
    assert contents(original) != before


@pytest.mark.parametrize("text", STRUCTURES)
def test_structures_of_a_tensor_become_its_array(text):
    original = STRUCTURES[text]()
    if isinstance(original, RLEMasks):
        assert np.array_equal(np.asarray(original), original.to_bitmasks().tensor.numpy())
    elif hasattr(original, "__array__"):
        assert np.array_equal(np.asarray(original), original.tensor.numpy())
    else:
        assert type(original) in (PolygonMasks, ImageList, Instances)
