"""Small tensor functions, dropped paths, and what is known of shapes."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.layers import ShapeSpec, cat, cross_entropy, nonzero_tuple
from d2_modeling.layers.drop_path import DropPath
from d2_modeling.layers.shape_spec import common_width, select_shapes


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.sampled_from([0, 1, -1]))
def test_tensors_are_joined_as_torch_does(lengths: list[int], dim: int) -> None:
    shapes = [(n, 2) if dim == 0 else (2, n) for n in lengths]
    tensors = [torch.randn(shape) for shape in shapes]
    assert torch.equal(cat(tensors, dim), torch.cat(tensors, dim))
    assert torch.equal(cat(tuple(tensors), dim=dim), torch.cat(tensors, dim))


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("shape", [(), (4,), (3, 0), (2, 3, 4)])
def test_places_of_what_is_not_zero_come_per_dimension(
    shape: tuple[int, ...], scripted: bool
) -> None:
    x = torch.randint(0, 2, shape)
    if scripted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch advises against scripting
            found = torch.jit.script(nonzero_tuple)(x)
    else:
        found = nonzero_tuple(x)
    wanted = torch.atleast_1d(x).nonzero()
    assert len(found) == max(len(shape), 1)
    assert all(one.dtype == torch.int64 for one in found)
    assert torch.equal(torch.stack(list(found), 1), wanted)


def test_a_loss_over_nothing_is_zero_only_as_a_mean() -> None:
    scores = torch.zeros(0, 3, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.long)
    assert cross_entropy(scores, labels) == 0
    assert cross_entropy(scores, labels, reduction="sum") == 0
    assert cross_entropy(scores, labels, reduction="none").shape == (0,)


def test_a_loss_takes_the_options_of_torch() -> None:
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 1, 0, -1])
    options: dict[str, Any] = {"weight": torch.rand(3), "ignore_index": -1, "label_smoothing": 0.1}
    wanted = F.cross_entropy(scores, labels, **options)
    torch.testing.assert_close(cross_entropy(scores, labels, **options), wanted)
    maps, of_pixels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    wanted = F.cross_entropy(maps, of_pixels)
    torch.testing.assert_close(cross_entropy(maps, of_pixels), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64,), (64, 3), (64, 2, 3, 4)])
def test_a_dropped_path_is_dropped_for_a_whole_sample(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    path = DropPath(0.5).train()
    x = torch.rand(shape).to(dtype) + 0.5
    out = path(x)
    assert out.dtype == dtype
    shares = (out / x).flatten(1) if len(shape) > 1 else (out / x)[:, None]
    for row in shares:
        assert row.tolist() in ([0.0] * len(row), [2.0] * len(row))
    assert 0 < int(shares[:, 0].count_nonzero()) < 64


def test_a_path_that_is_never_dropped_is_the_branch_itself() -> None:
    x = torch.randn(3, 2)
    assert DropPath(0.0).train()(x) is x
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.5).train()(torch.zeros(0, 4)).shape == (0, 4)
    assert repr(DropPath(0.25)) == "DropPath(drop_prob=0.25)"


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_outside_of_its_range_is_named(rate: float) -> None:
    with pytest.raises(ValueError, match=r"drop_prob has to be in \[0, 1\), got"):
        DropPath(rate)


# Shapes


def test_a_shape_is_a_value_whose_fields_may_change() -> None:
    shape = ShapeSpec(channels=8, stride=4)
    assert (shape.height, shape.width) == (None, None)
    shape.height = 5
    assert shape == ShapeSpec(8, 5, None, 4)
    assert shape != ShapeSpec(8, 5, None, 8)


def test_the_width_that_maps_share_is_found() -> None:
    assert common_width([ShapeSpec(8, stride=4), ShapeSpec(8, stride=8)], "the head") == 8


@pytest.mark.parametrize(
    ("channels", "shown"), [([8, 16], r"\[8, 16\]"), ([None], r"\[None\]"), ([], r"\[\]")]
)
def test_widths_that_differ_or_are_unknown_are_named_with_who_asks(
    channels: list[int | None], shown: str
) -> None:
    with pytest.raises(ValueError, match=rf"the head wants feature maps of one .* got {shown}"):
        common_width([ShapeSpec(one) for one in channels], "the head")


def test_shapes_are_picked_in_the_order_of_their_names() -> None:
    shapes = {name: ShapeSpec(channels=k) for k, name in enumerate("abc")}
    assert [s.channels for s in select_shapes(shapes, ["c", "a"], "X")] == [2, 0]
    for names in ([], ["d"], ["a", "d"]):
        with pytest.raises(ValueError, match=r"X is \[.*gives only \['a', 'b', 'c'\]; name its"):
            select_shapes(shapes, names, "X")
