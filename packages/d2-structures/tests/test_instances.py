import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_structures import Boxes, Instances, Keypoints, PolygonMasks


def make(count=3, size=(40, 50)):
    return Instances(
        size,
        pred_boxes=Boxes(torch.arange(4.0 * count).view(count, 4)),
        scores=torch.arange(count) / 10,
        names=[f"object {i}" for i in range(count)],
        ids=np.arange(count),
        keypoints=Keypoints(torch.zeros(count, 2, 3)),
        polygons=PolygonMasks([[[0, 0, i, 0, i, i]] for i in range(count)]),
    )


@given(st.integers(0, 4), st.integers(0, 4), st.data())
def test_cat_then_indexing_gives_the_parts_of_every_field(n, m, data):
    first, second = make(n), make(m)
    joined = Instances.cat([first, second])
    assert len(joined) == n + m
    assert joined.names == first.names + second.names
    assert joined.ids.tolist() == [*range(n), *range(m)]
    chosen = data.draw(st.lists(st.integers(0, n + m - 1), max_size=5)) if n + m else []
    picked = joined[torch.tensor(chosen, dtype=torch.int64)]
    assert picked.names == [joined.names[i] for i in chosen]
    assert torch.equal(picked.pred_boxes.tensor, joined.pred_boxes.tensor[chosen])
    assert [p[0].tolist() for p in picked.polygons] == [
        joined.polygons.polygons[i][0].tolist() for i in chosen
    ]


@pytest.mark.parametrize("index", range(-3, 3))
def test_an_int_gives_one_instance(index):
    one = make()[index]
    assert len(one) == 1
    assert one.names == [f"object {index % 3}"]
    assert one.scores.shape == (1,)


@pytest.mark.parametrize("index", [3, -4])
def test_an_int_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError, match="out of range for 3"):
        make()[index]


def test_a_bool_vector_selects_in_every_field():
    some = make()
    picked = some[some.scores > 0.05]
    assert picked.names == ["object 1", "object 2"]
    assert picked.ids.tolist() == [1, 2]
    assert picked.image_size == (40, 50)
    assert len(some[some.scores > 9]) == 0


def test_a_name_gives_the_field_and_iteration_single_instances():
    some = make()
    assert some["scores"] is some.scores is some.get("scores")
    assert [one.names[0] for one in some] == some.names


def test_fields_are_set_checked_and_removed():
    some = make()
    some.set("extra", [1, 2, 3])
    assert some.has("extra")
    assert "extra" in some
    assert "extra" in dir(some)
    some.remove("extra")
    assert not some.has("extra")
    del some.names
    assert "names" not in some.get_fields()


def test_changing_the_dict_of_fields_changes_the_instances():
    some = make()
    some.get_fields()["scores"] = torch.ones(3)
    assert some.scores.sum() == 3


def test_a_field_of_another_length_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=r"'extra' has length 2, but these Instances have 3"):
        make().extra = [1, 2]
    with pytest.raises(ValueError, match="length"):
        Instances((1, 1), a=[1], b=[1, 2])
    with pytest.raises(TypeError, match="int without length"):
        make().extra = 3


def test_an_unknown_field_is_named_with_close_matches():
    some = make()
    with pytest.raises(AttributeError, match=r"'score' .* did you mean 'scores'\?"):
        _ = some.score
    with pytest.raises(KeyError, match="did you mean"):
        some.get("pred_box")
    with pytest.raises(KeyError):
        some.remove("nothing")
    with pytest.raises(AttributeError):
        del some.nothing
    assert not hasattr(some, "_private")


@pytest.mark.parametrize("size", [(-1, 4), (3,), 5, None, (float("nan"), 2)])
def test_an_impossible_image_size_is_refused(size):
    with pytest.raises(ValueError, match="image_size"):
        Instances(size)


def test_the_image_size_cannot_be_set():
    with pytest.raises(AttributeError, match="fixed"):
        make().image_size = (1, 1)


def test_instances_without_fields_have_no_length_and_are_false():
    with pytest.raises(ValueError, match="no length"):
        len(Instances((3, 4)))
    assert not Instances((3, 4))
    assert make()
    assert not make(0)


def test_cat_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match="at least one"):
        Instances.cat([])
    with pytest.raises(ValueError, match=r"image_size is \(40, 50\) at position 0"):
        Instances.cat([make(), make(size=(1, 1))])
    with pytest.raises(ValueError, match="same fields"):
        Instances.cat([make(), Instances((40, 50), scores=torch.ones(1))])
    with pytest.raises(TypeError, match="position 0"):
        Instances.cat([torch.ones(1)])
    with pytest.raises(TypeError, match="'field' of type range cannot be joined"):
        Instances.cat([Instances((1, 1), field=range(2))] * 2)


def test_cat_of_one_gives_that_one():
    some = make()
    assert Instances.cat([some]) is some


def test_to_moves_what_can_be_moved():
    some = Instances((4, 5), scores=torch.ones(2), names=["a", "b"]).to(torch.float64)
    assert some.scores.dtype == torch.float64
    assert some.names == ["a", "b"]
    assert make().to("cpu").pred_boxes.device.type == "cpu"


def test_numpy_gives_arrays():
    arrays = make().numpy()
    assert arrays["pred_boxes"].shape == (3, 4)
    assert arrays["keypoints"].shape == (3, 2, 3)
    assert isinstance(arrays["scores"], np.ndarray)
    assert arrays["names"] == ["object 0", "object 1", "object 2"]


class Labelled(Instances):
    """A subclass with a private attribute."""


def test_copies_pickles_and_parts_keep_type_and_private_attributes():
    some = Labelled((4, 5), scores=torch.ones(2))
    some._source = "test"
    twins = [
        copy.copy(some),
        copy.deepcopy(some),
        some[:1],
        some.to("cpu"),
        Instances.cat([some] * 2),
    ]
    for twin in twins:
        assert type(twin) is Labelled
        assert twin._source == "test"
    unpickled = pickle.loads(pickle.dumps(make()))
    assert type(unpickled.pred_boxes) is Boxes
    assert unpickled.image_size == (40, 50)


def test_a_shallow_copy_has_its_own_fields():
    some = make()
    copied = copy.copy(some)
    copied.extra = [1, 2, 3]
    assert not some.has("extra")
    assert copied.scores is some.scores


def test_the_repr_is_short_and_says_what_is_inside():
    some = Instances((4, 5), scores=torch.ones(2), masks=torch.zeros(2, 300, 300, dtype=torch.bool))
    assert repr(some) == (
        "Instances(num_instances=2, image_height=4, image_width=5, "
        "fields=[scores: tensor([1., 1.]), masks: bool (2, 300, 300)])"
    )
    assert repr(Instances((4, 5))) == "Instances(image_height=4, image_width=5, fields=[])"
    assert len(repr(make(1000))) < 600


def select_and_join(boxes: torch.Tensor, scores: torch.Tensor):
    some = Instances((10, 10))
    some.pred_boxes = Boxes(boxes)
    some.scores = scores
    kept = some[some.scores > 0.5]
    joined = Instances.cat([kept, kept])
    return joined.pred_boxes.tensor, joined.scores


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_trace_holds_for_other_numbers_of_instances():
    traced = torch.jit.trace(select_and_join, (torch.rand(5, 4), torch.rand(5)))
    other = torch.rand(9, 4), torch.rand(9)
    torch.testing.assert_close(traced(*other), select_and_join(*other))


def test_an_export_holds_for_other_numbers_of_instances():
    class SelectAndJoin(torch.nn.Module):
        def forward(self, boxes, scores):
            return select_and_join(boxes, scores)

    dynamic = {0: torch.export.Dim("n")}
    exported = torch.export.export(
        SelectAndJoin(), (torch.rand(5, 4), torch.rand(5)), dynamic_shapes=(dynamic, dynamic)
    )
    other = torch.rand(9, 4), torch.rand(9)
    torch.testing.assert_close(exported.module()(*other), select_and_join(*other))
