import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_structures import Keypoints


def make(count=3):
    return Keypoints(torch.arange(count * 6.0).view(count, 2, 3))


@given(st.floats(0, 0.999), st.floats(0, 0.999), st.integers(1, 56))
def test_a_visible_keypoint_in_the_box_falls_into_the_cell_that_holds_it(fx, fy, size):
    keypoints = Keypoints([[[10 + 16 * fx, 20 + 32 * fy, 2]]])
    cells, valid = keypoints.to_heatmap(torch.tensor([[10.0, 20.0, 26.0, 52.0]]), size)
    assert valid.item() == 1
    row, column = divmod(cells.item(), size)
    assert abs((column + 0.5) / size - fx) <= 0.5 / size + 1e-5
    assert abs((row + 0.5) / size - fy) <= 0.5 / size + 1e-5


def test_values_agree_with_the_original_system(golden):
    values = golden["keypoints"]
    cells, valid = Keypoints(values["keypoints"]).to_heatmap(values["boxes"], 56)
    assert torch.equal(cells, values["heatmap"])
    assert torch.equal(valid, values["valid"])


def test_the_right_and_bottom_edge_belong_to_the_last_cell():
    cells, valid = Keypoints([[[8, 8, 1]]]).to_heatmap(torch.tensor([[0.0, 0, 8, 8]]), 4)
    assert (cells.item(), valid.item()) == (15, 1)


@pytest.mark.parametrize("point", [(2, 2, 0), (9, 2, 2), (2, -1, 2)])
def test_unlabelled_keypoints_and_those_outside_are_not_valid(point):
    cells, valid = Keypoints([[point]]).to_heatmap(torch.tensor([[0.0, 0, 8, 8]]), 4)
    assert (cells.item(), valid.item()) == (0, 0)


def test_an_empty_box_holds_no_keypoint_but_its_corner():
    boxes = torch.zeros(1, 4)
    _, valid = Keypoints([[[1, 1, 2], [-1, 0, 2]]]).to_heatmap(boxes, 4)
    assert valid.tolist() == [[0, 0]]


def test_no_instances_give_empty_heatmaps():
    cells, valid = make(0).to_heatmap(torch.zeros(0, 4), 56)
    assert cells.shape == valid.shape == (0, 2)
    assert cells.dtype == valid.dtype == torch.int64


@pytest.mark.parametrize("index", [0, -1, slice(1, 3), [2, 0], torch.tensor([True, False, True])])
def test_indexing_selects_instances(index):
    some = make()
    assert torch.equal(some[index].tensor, some.tensor[index].view(-1, 2, 3))


def test_cat_and_indexing_are_inverse():
    joined = Keypoints.cat([make(2), make(1)])
    assert torch.equal(joined[:2].tensor, make(2).tensor)
    with pytest.raises(ValueError, match="at least one"):
        Keypoints.cat([])
    with pytest.raises(TypeError, match="position 0"):
        Keypoints.cat([torch.zeros(1, 2, 3)])


@pytest.mark.parametrize("bad", [torch.zeros(3, 2), torch.zeros(2, 4, 2), [[1, 2, 3]]])
def test_a_wrong_shape_is_refused(bad):
    with pytest.raises(ValueError, match=r"\(N, K, 3\), got"):
        Keypoints(bad)


def test_what_is_no_number_is_refused():
    with pytest.raises(TypeError, match="numbers"):
        Keypoints([[["a", "b", "c"]]])


def test_heatmaps_need_one_box_per_instance_and_a_positive_size():
    with pytest.raises(ValueError, match=r"\(3, 4\), got \[2, 4\]"):
        make().to_heatmap(torch.zeros(2, 4), 56)
    with pytest.raises(ValueError, match="positive"):
        make().to_heatmap(torch.zeros(3, 4), 0)


def test_copies_pickles_arrays_and_repr():
    some = make()
    for twin in (copy.deepcopy(some), pickle.loads(pickle.dumps(some)), some.to("cpu")):
        assert type(twin) is Keypoints
        assert torch.equal(twin.tensor, some.tensor)
    assert np.asarray(some).shape == (3, 2, 3)
    assert Keypoints(np.asarray(some)).device.type == "cpu"
    assert repr(some) == "Keypoints(num_instances=3, num_keypoints=2)"
    assert len(some) == 3
