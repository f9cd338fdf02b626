import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from d2_structures import Boxes

NO_DEPRECATION = pytest.mark.filterwarnings("ignore:.torch.jit")

coordinate = st.integers(-400, 1200).map(lambda eighths: eighths / 8)


@st.composite
def boxes(draw, max_size=6):
    rows = draw(st.lists(st.tuples(*[coordinate] * 4), max_size=max_size))
    corners = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    first, second = corners[:, :2], corners[:, 2:]
    return Boxes(torch.cat((torch.minimum(first, second), torch.maximum(first, second)), dim=1))


def square(side=10.0):
    return Boxes(torch.tensor([[0.0, 0.0, side, side]]))


@given(boxes())
def test_clipped_boxes_lie_inside_and_stay_when_clipped_again(some):
    some.clip((60, 80))
    once = some.tensor
    assert some.inside_box((60, 80)).all()
    some.clip((60, 80))
    assert_close(some.tensor, once)


@given(boxes(), st.sampled_from([0.5, 2.0, 4.0]), st.sampled_from([0.25, 1.0, 8.0]))
def test_scaling_by_powers_of_two_is_undone_exactly(some, x, y):
    before = some.tensor.clone()
    some.scale(x, y)
    assert_close(some.area(), (before[:, 2] - before[:, 0]) * (before[:, 3] - before[:, 1]) * x * y)
    some.scale(1 / x, 1 / y)
    assert torch.equal(some.tensor, before)


@given(boxes(), boxes())
def test_cat_then_slicing_gives_the_parts(first, second):
    joined = Boxes.cat([first, second])
    assert torch.equal(joined[: len(first)].tensor, first.tensor)
    assert torch.equal(joined[len(first) :].tensor, second.tensor)


def test_values_agree_with_the_original_system(golden):
    values = golden["boxes"]
    some = Boxes(values["b1"])
    assert_close(some.area(), values["area"])
    assert_close(some.get_centers(), values["centers"])
    assert torch.equal(some.inside_box((60, 70), 5), values["inside"])
    moved = Boxes(values["b1"] - 20)
    moved.clip((60, 70))
    assert_close(moved.tensor, values["clip_of_b1_minus_20"])


def test_clip_and_scale_leave_the_given_tensor_alone():
    tensor = torch.tensor([[-1.0, 2.0, 30.0, 40.0]])
    some = Boxes(tensor)
    some.clip((10, 10))
    some.scale(2, 2)
    assert tensor.tolist() == [[-1, 2, 30, 40]]
    assert some.tensor.tolist() == [[0, 4, 20, 20]]


def test_a_box_that_touches_the_border_is_inside_and_one_beyond_is_not():
    assert square(10).inside_box((10, 10)).item()
    assert not square(10.5).inside_box((10, 10)).item()
    assert square(10.5).inside_box((10, 10), boundary_threshold=1).item()


def test_nonempty_needs_both_sides_longer_than_the_threshold():
    some = Boxes([[0, 0, 5, 5], [0, 0, 0, 5], [0, 0, 5, 2]])
    assert some.nonempty().tolist() == [True, False, True]
    assert some.nonempty(2).tolist() == [True, False, False]


@pytest.mark.parametrize("index", [1, -1, slice(0, 2), [0, 2], torch.tensor([2, 0])])
def test_indexing_selects_rows(index):
    some = Boxes(torch.arange(12.0).view(3, 4))
    assert torch.equal(some[index].tensor, some.tensor[index].view(-1, 4))


def test_a_bool_vector_selects_and_a_pair_of_indices_is_refused():
    some = Boxes(torch.arange(12.0).view(3, 4))
    assert len(some[torch.tensor([True, False, True])]) == 2
    with pytest.raises(ValueError, match="boxes can be indexed"):
        some[0, 1]
    with pytest.raises(IndexError):
        some[3]


@pytest.mark.parametrize("empty", [torch.zeros(0), torch.zeros(0, 4), [], torch.zeros(0, 5)])
def test_nothing_gives_zero_boxes_and_everything_works_on_them(empty):
    some = Boxes(empty)
    assert some.tensor.shape == (0, 4)
    some.clip((3, 3))
    some.scale(2, 2)
    assert len(some) == len(some.area()) == len(some.nonempty()) == len(list(some)) == 0
    assert len(Boxes.cat([])) == len(Boxes.cat([some, some])) == 0


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.zeros(3, 5), ValueError, r"shape \(N, 4\), got \[3, 5\]"),
        (torch.zeros(4), ValueError, r"got \[4\]"),
        (torch.zeros(2, 4, dtype=torch.bool), TypeError, "torch.bool"),
        (torch.zeros(2, 4, dtype=torch.complex64), TypeError, "complex"),
        ([[0, 0, 1, float("nan")]], ValueError, "row 0"),
        (np.array([[0, 0, 1, np.inf]]), ValueError, "NaN or infinity"),
        ([["a", "b", "c", "d"]], TypeError, "numbers"),
        ([[1, 2, 3, 4], [1, 2]], TypeError, "differing lengths"),
    ],
)
def test_bad_data_is_refused_with_what_came(data, error, message):
    with pytest.raises(error, match=message):
        Boxes(data)


def test_clipping_names_the_box_that_is_not_finite():
    some = Boxes(torch.tensor([[0.0, 0, 1, 1], [0, 0, float("inf"), 1]]))
    with pytest.raises(ValueError, match="row 1"):
        some.clip((5, 5))


def test_cat_refuses_what_is_no_boxes():
    with pytest.raises(TypeError, match="Tensor at position 1"):
        Boxes.cat([square(), torch.zeros(1, 4)])


def test_copies_and_pickles_keep_type_and_values():
    some = square()
    for twin in (
        pickle.loads(pickle.dumps(some)),
        copy.deepcopy(some),
        some.clone(),
        some.to("cpu"),
    ):
        assert type(twin) is Boxes
        assert torch.equal(twin.tensor, some.tensor)


def test_boxes_become_arrays_and_their_repr_shows_the_numbers():
    assert np.asarray(square()).tolist() == [[0, 0, 10, 10]]
    assert repr(square()) == "Boxes(tensor([[ 0.,  0., 10., 10.]]))"


def test_gradients_reach_the_given_tensor():
    tensor = torch.tensor([[0.0, 0.0, 2.0, 3.0]], requires_grad=True)
    some = Boxes(tensor)
    some.scale(2, 1)
    some.area().sum().backward()
    assert tensor.grad.tolist() == [[-6, -4, 6, 4]]


def use_boxes(tensor: torch.Tensor):
    some = Boxes(tensor).clone()
    some.clip((10, 20))
    some.scale(2.0, 3.0)
    kept = some[some.nonempty()].to(torch.device("cpu"))
    return kept.tensor, kept.area(), kept.get_centers(), kept.inside_box((5, 5), 1)


@NO_DEPRECATION
def test_scripting_gives_the_same():
    tensor = torch.rand(7, 4) * 30
    assert_close(torch.jit.script(use_boxes)(tensor), use_boxes(tensor))


@NO_DEPRECATION
def test_a_trace_holds_for_other_numbers_of_boxes():
    traced = torch.jit.trace(use_boxes, torch.rand(7, 4) * 30)
    tensor = torch.rand(3, 4) * 30
    assert_close(traced(tensor), use_boxes(tensor))


def test_an_export_holds_for_other_numbers_of_boxes():
    class UseBoxes(torch.nn.Module):
        def forward(self, tensor):
            return use_boxes(tensor)

    dynamic = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(UseBoxes(), (torch.rand(7, 4),), dynamic_shapes=(dynamic,))
    tensor = torch.rand(3, 4) * 30
    assert_close(exported.module()(tensor), use_boxes(tensor))
