"""Taking what models take and give apart, and putting it together."""

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.export import flatten_to_tuple
from d2_structures import (
    BitMasks,
    Boxes,
    ImageList,
    Instances,
    Keypoints,
    PolygonMasks,
    ROIMasks,
    RotatedBoxes,
)


class Pair(NamedTuple):
    first: Any
    second: Any


LEAVES = st.one_of(
    st.integers(-9, 9).map(torch.tensor),
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(),
)
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.tuples(inner, inner).map(lambda two: Pair(*two)),
    ),
    max_leaves=8,
)


def equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return [*one] == [*other] and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@given(OBJECTS)
def test_a_schema_puts_together_what_was_taken_apart(obj: Any) -> None:
    values, schema = flatten_to_tuple(obj)
    assert equal(schema(values), obj)
    assert len([*schema.paths("obj")]) == schema.num_values == len(values)


@given(OBJECTS, OBJECTS)
def test_schemas_are_equal_only_where_types_and_keys_are(one: Any, other: Any) -> None:
    first, second = flatten_to_tuple(one)[1], flatten_to_tuple(other)[1]
    assert (first == second) == ([*paths_and_types(one)] == [*paths_and_types(other)])


def paths_and_types(obj: Any) -> Any:
    yield type(obj)
    if isinstance(obj, (dict, list, tuple)):
        for key, part in obj.items() if isinstance(obj, dict) else enumerate(obj):
            yield key
            yield [*paths_and_types(part)]


def test_structures_become_their_tensors_and_come_back() -> None:
    instances = Instances(
        (30, 40),
        pred_boxes=Boxes(torch.rand(2, 4)),
        masks=BitMasks(torch.ones(2, 30, 40, dtype=torch.bool)),
        scores=torch.rand(2),
    )
    images = ImageList(torch.rand(2, 3, 8, 8), [(8, 7), (6, 8)])
    values, schema = flatten_to_tuple([{"instances": instances}, images])
    assert all(isinstance(value, Tensor) for value in values)
    outputs, again = schema(values)
    assert outputs["instances"].image_size == (30, 40)
    assert [*outputs["instances"].get_fields()] == ["pred_boxes", "masks", "scores"]
    assert torch.equal(outputs["instances"].pred_boxes.tensor, instances.pred_boxes.tensor)
    assert isinstance(outputs["instances"].masks, BitMasks)
    assert again.image_sizes == [(8, 7), (6, 8)]


def test_axis_aligned_and_rotated_boxes_differ_in_schema() -> None:
    aligned, rotated = Boxes(torch.rand(1, 4)), RotatedBoxes(torch.rand(1, 5))
    assert flatten_to_tuple(aligned)[1] != flatten_to_tuple(rotated)[1]


def test_an_ordered_dict_stays_one() -> None:
    values, schema = flatten_to_tuple(OrderedDict(a=torch.ones(1)))
    assert type(schema(values)) is OrderedDict


def test_paths_say_where_a_value_is() -> None:
    instances = Instances((3, 4), pred_boxes=Boxes(torch.rand(1, 4)))
    _, schema = flatten_to_tuple([{"instances": instances}])
    assert [*schema.paths("outputs")] == [
        "outputs[0]['instances'].pred_boxes.tensor",
        "outputs[0]['instances'].image_size",
    ]


def test_a_schema_refuses_another_number_of_values() -> None:
    values, schema = flatten_to_tuple((torch.ones(1), torch.ones(2)))
    with pytest.raises(ValueError, match="takes 2 values, got 3"):
        schema((*values, torch.ones(1)))


@pytest.mark.parametrize(
    "holder",
    [
        Boxes(torch.rand(2, 4)),
        RotatedBoxes(torch.rand(2, 5)),
        BitMasks(torch.ones(2, 3, 4, dtype=torch.bool)),
        ROIMasks(torch.rand(2, 7, 7)),
        Keypoints(torch.rand(2, 5, 3)),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_what_holds_one_tensor_is_that_tensor(holder: Any) -> None:
    (value,), schema = flatten_to_tuple(holder)
    assert value is holder.tensor
    assert [*schema.paths("x")] == ["x.tensor"]
    again = schema((value * 1,))
    assert type(again) is type(holder)
    assert torch.equal(again.tensor, holder.tensor)


def test_polygons_are_no_tensors_and_stay_as_they_are() -> None:
    polygons = PolygonMasks([[[0.0, 0, 3, 0, 3, 3]]])
    values, schema = flatten_to_tuple({"masks": polygons})
    assert values == (polygons,)
    assert schema(values)["masks"] is polygons


def test_other_tensors_of_the_same_meaning_may_be_put_in() -> None:
    _, schema = flatten_to_tuple([Instances((3, 4), pred_boxes=Boxes(torch.rand(2, 4)))])
    (found,) = schema((torch.rand(7, 4), torch.tensor([30, 40])))
    assert len(found) == 7
    assert found.image_size == (30, 40)
    assert all(type(side) is int for side in found.image_size)


def test_schemas_know_structure_and_not_shapes() -> None:
    def schema_of(count: int, **more: Any) -> Any:
        boxes = Boxes(torch.rand(count, 4))
        return flatten_to_tuple([Instances((3, 4 + count), pred_boxes=boxes, **more)])[1]

    assert schema_of(1) == schema_of(5) == schema_of(0)
    assert hash(schema_of(1)) == hash(schema_of(5))
    assert schema_of(1) != schema_of(1, scores=torch.rand(1))


def test_lists_of_different_lengths_differ_and_so_do_lists_and_tuples() -> None:
    one = torch.ones(1)
    schemas = [
        flatten_to_tuple(x)[1] for x in ([one], [one, one], (one,), {0: one}, Pair(one, one))
    ]
    assert len(set(schemas)) == 5


def test_images_of_a_batch_have_their_sizes_in_one_tensor() -> None:
    images = ImageList(torch.rand(3, 3, 8, 8), [(8, 7), (6, 8), (1, 1)])
    values, schema = flatten_to_tuple({"images": images})
    assert values[0] is images.tensor
    assert values[1].tolist() == [[8, 7], [6, 8], [1, 1]]
    assert values[1].dtype == torch.int64
    assert [*schema.paths("x")] == ["x['images'].tensor", "x['images'].image_sizes"]


def test_empty_containers_have_no_values_and_come_back() -> None:
    for empty in ([], (), {}, [[], {}]):
        values, schema = flatten_to_tuple(empty)
        assert values == ()
        assert schema.num_values == 0
        assert schema(values) == empty
        assert [*schema.paths("x")] == []


def test_instances_without_fields_are_their_size() -> None:
    values, schema = flatten_to_tuple(Instances((5, 6)))
    assert [value.tolist() for value in values] == [[5, 6]]
    assert schema(values).image_size == (5, 6)
    assert schema(values).get_fields() == {}


def test_subclasses_stay_what_they_are() -> None:
    class Own(Boxes):
        """Boxes of a user."""

    values, schema = flatten_to_tuple(Own(torch.rand(2, 4)))
    assert type(schema(values)) is Own
    assert schema != flatten_to_tuple(Boxes(torch.rand(2, 4)))[1]


def test_keys_of_any_type_are_shown_as_they_are_written() -> None:
    values, schema = flatten_to_tuple({3: torch.ones(1), ("a", 1): [torch.ones(1)], None: 5})
    assert [*schema.paths("x")] == ["x[3]", "x[('a', 1)][0]", "x[None]"]
    assert [*schema(values)] == [3, ("a", 1), None]


@pytest.mark.filterwarnings(r"ignore:`torch\.jit")
def test_sizes_stay_tensors_while_a_trace_is_recorded() -> None:
    _, schema = flatten_to_tuple(Instances((5, 6), scores=torch.rand(2)))
    seen = []

    def put_together(scores: Tensor, size: Tensor) -> Tensor:
        instances = schema((scores, size))
        seen.append(instances.image_size)
        return instances.scores * instances.image_size[0]

    traced = torch.jit.trace(put_together, (torch.ones(2), torch.tensor([5, 6])), check_trace=False)
    assert all(isinstance(side, Tensor) for side in seen[0])
    assert traced(torch.ones(2), torch.tensor([50, 6])).tolist() == [50, 50]
