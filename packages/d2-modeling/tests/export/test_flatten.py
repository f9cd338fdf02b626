"""Taking what models take and give apart, and putting it together."""

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.export import flatten_to_tuple
from d2_structures import BitMasks, Boxes, ImageList, Instances, RotatedBoxes


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
