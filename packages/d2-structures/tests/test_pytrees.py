"""PyTorch takes structures apart and puts the same ones together."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from d2_structures import (
    BitMasks,
    Boxes,
    ImageList,
    Instances,
    Keypoints,
    ROIMasks,
    RotatedBoxes,
)


def _fields(count: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(count)
    return {
        "pred_boxes": Boxes(torch.rand(count, 4, generator=random)),
        "rotated": RotatedBoxes(torch.rand(count, 5, generator=random)),
        "pred_masks": BitMasks(torch.rand(count, 3, 4, generator=random) > 0.5),
        "roi_masks": ROIMasks(torch.rand(count, 2, 2, generator=random)),
        "points": Keypoints(torch.rand(count, 5, 3, generator=random)),
        "scores": torch.rand(count, generator=random),
        "names": ["cat"] * count,
    }


@st.composite
def structures(draw: st.DrawFn) -> Any:
    count = draw(st.integers(0, 3))
    fields = _fields(count)
    size = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), unique=True))
    instances = Instances(size, **{name: fields[name] for name in chosen})
    sizes = [(draw(st.integers(1, 4)), draw(st.integers(1, 5))) for _ in range(count)]
    images = ImageList(torch.rand(count, 3, 4, 5), sizes)
    others = st.sampled_from([*fields.values(), instances, images])
    return draw(st.lists(st.one_of(others, st.dictionaries(st.sampled_from("ab"), others))))


def same(one: Any, other: Any) -> bool:
    """Alike in type and in every value."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one is other
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return same(vars(one), vars(other)) if hasattr(one, "__dict__") else bool(one == other)


@given(structures())
def test_what_was_taken_apart_is_put_together_the_same(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    assert all(isinstance(leaf, Tensor | int | str) for leaf in leaves)
    assert same(pytree.tree_unflatten(leaves, spec), tree)
    with_paths, spec_of_paths = pytree.tree_flatten_with_path(tree)
    assert spec_of_paths == spec
    assert [leaf for _, leaf in with_paths] == leaves or leaves == []


@given(structures())
def test_the_description_of_a_tree_can_be_written_and_read(tree: Any) -> None:
    spec = pytree.tree_structure(tree)
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec


def test_functions_are_mapped_over_the_tensors() -> None:
    found = Instances((4, 6), **_fields(2))
    moved = pytree.tree_map_only(Tensor, lambda t: t.to(torch.float64), found)
    assert moved.pred_boxes.tensor.dtype == torch.float64
    assert moved.image_size == (4, 6)
    assert found.pred_boxes.tensor.dtype == torch.float32


def test_parts_are_told_by_their_names() -> None:
    found = Instances((4, 6), pred_boxes=Boxes(torch.zeros(1, 4)))
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path([found])[0]]
    assert paths == ["[0].pred_boxes.tensor", "[0].image_size[0]", "[0].image_size[1]"]


class _Enlarge(nn.Module):
    """Takes images and instances, and gives instances."""

    def forward(self, images: ImageList, found: Instances) -> Instances:
        height, width = found.image_size
        boxes = Boxes(found.pred_boxes.tensor * images.tensor.shape[0])
        return Instances((height * 2, width * 2), pred_boxes=boxes, scores=found.scores + 1)


def test_an_exported_program_takes_and_gives_structures(tmp_path: Any) -> None:
    found = Instances((4, 6), pred_boxes=Boxes(torch.rand(3, 4)), scores=torch.rand(3))
    images = ImageList(torch.rand(2, 3, 8, 8), [(8, 8), (6, 7)])
    program = torch.export.export(_Enlarge(), (images, found))
    program.example_inputs = None  # torch would pickle them, of types that it does not read
    torch.export.save(program, tmp_path / "program.pt2")
    loaded = torch.export.load(tmp_path / "program.pt2").module()
    other = Instances((4, 6), pred_boxes=Boxes(torch.rand(3, 4)), scores=torch.rand(3))
    got = loaded(images, other)
    assert type(got) is Instances
    assert got.image_size == (8, 12)
    torch.testing.assert_close(got.pred_boxes.tensor, other.pred_boxes.tensor * 2)
    assert torch.equal(got.scores, other.scores + 1)


def test_a_subclass_stays_one_value() -> None:
    class Ours(Boxes):
        pass

    assert len(pytree.tree_leaves(Ours(torch.zeros(2, 4)))) == 1
    (leaf,) = pytree.tree_leaves(Ours(torch.zeros(2, 4)))
    assert type(leaf) is Ours


@pytest.mark.parametrize("kind", [Boxes, ImageList, Instances])
def test_structures_are_known_to_be_trees(kind: type) -> None:
    assert kind in pytree.SUPPORTED_NODES
