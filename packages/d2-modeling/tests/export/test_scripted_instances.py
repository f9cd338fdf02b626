"""Scripting code that uses `Instances`, and looking at what comes out."""

import pathlib

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.export import (
    dump_torchscript_IR,
    patch_instances,
    scripting_with_instances,
    unscripted_instances,
)
from d2_structures import BitMasks, Boxes, Instances

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit")

FIELDS = {"pred_boxes": Boxes, "scores": Tensor, "unset": Tensor}


class Chooser(nn.Module):
    """A model in a user's own words."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        nn.init.constant_(self.linear.weight, 0.25)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> list[Instances]:
        if self.training:
            raise ValueError("only in evaluation")
        instances = Instances((30, 40))
        instances.pred_boxes = Boxes(x)
        instances.scores = self.linear(x)[:, 0]
        confident = instances[instances.scores > 0.5]
        assert confident.has("scores")
        assert confident.image_size == (30, 40)
        return [confident.to(torch.device("cpu")), Instances.cat([instances, confident])]


def test_scripted_code_gives_the_instances_of_eager_code() -> None:
    model, x = Chooser().eval(), torch.rand(6, 4)
    scripted = scripting_with_instances(model, FIELDS)
    for got, wanted in zip(scripted(x), model(x), strict=True):
        eager = unscripted_instances(got)
        assert eager.image_size == wanted.image_size == (30, 40)
        assert [*eager.get_fields()] == [*wanted.get_fields()]
        assert torch.equal(eager.scores, wanted.scores)
        assert torch.equal(eager.pred_boxes.tensor, wanted.pred_boxes.tensor)
        assert len(got) == len(wanted)


def test_models_are_scripted_one_after_another_with_different_fields() -> None:
    first = scripting_with_instances(Chooser().eval(), FIELDS)
    second = scripting_with_instances(Chooser().eval(), {**FIELDS, "more": Tensor})
    x = torch.rand(6, 4)
    assert torch.equal(first(x)[1].scores, second(x)[1].scores)
    assert hasattr(second(x)[1], "_more")
    assert not hasattr(first(x)[1], "_more")


def test_eager_instances_are_as_before() -> None:
    cat = Instances.cat
    scripting_with_instances(Chooser().eval(), FIELDS)
    assert Instances.cat is cat
    assert not hasattr(Instances, "_jit_override_qualname")
    assert isinstance(Chooser().eval()(torch.rand(2, 4))[0], Instances)
    assert not hasattr(nn.Linear, "training")


def test_a_field_that_is_not_set_is_named() -> None:
    with patch_instances(FIELDS) as made:
        instances = made((3, 4))
    assert not instances.has("scores")
    with pytest.raises(AssertionError, match="no field scores"):
        _ = instances.scores
    with pytest.raises(ValueError, match="set a field first"):
        len(instances)


def test_only_models_in_evaluation_mode_are_scripted() -> None:
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        scripting_with_instances(Chooser(), FIELDS)


@pytest.mark.parametrize("name", ["_hidden", "no name", "class", "image_size", "to"])
def test_names_that_cannot_be_fields_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="fields: "), patch_instances({name: Tensor}):
        pass


def test_a_field_needs_a_type() -> None:
    with pytest.raises(TypeError, match=r"fields\['scores'\] must be a type"):
        scripting_with_instances(Chooser().eval(), {"scores": "Tensor"})


def test_patches_do_not_nest() -> None:
    with (
        patch_instances(FIELDS),
        pytest.raises(RuntimeError, match="active already"),
        patch_instances(FIELDS),
    ):
        pass
    with patch_instances(FIELDS):
        pass


def test_only_scripted_instances_are_unscripted() -> None:
    with pytest.raises(TypeError, match="not int"):
        unscripted_instances(3)


def test_a_scripted_model_is_dumped_as_code_graph_and_inlined_graph(tmp_path: pathlib.Path) -> None:
    scripted = scripting_with_instances(Chooser().eval(), FIELDS)
    dump_torchscript_IR(scripted, str(tmp_path / "ir"))
    texts = {file.name: file.read_text() for file in (tmp_path / "ir").iterdir()}
    assert sorted(texts) == [
        "model.txt",
        "model_ts_IR.txt",
        "model_ts_IR_inlined.txt",
        "model_ts_code.txt",
    ]
    assert "def forward(self" in texts["model_ts_code.txt"]
    assert "linear.forward of Linear" in texts["model_ts_code.txt"]
    assert 'CallMethod[name="forward"]' in texts["model_ts_IR.txt"]
    assert "aten::linear" in texts["model_ts_IR_inlined.txt"]
    assert 'CallMethod[name="forward"]' not in texts["model_ts_IR_inlined.txt"]
    assert "original_name=Linear" in texts["model.txt"]


def test_a_function_is_dumped_without_modules(tmp_path: pathlib.Path) -> None:
    dump_torchscript_IR(torch.jit.trace(torch.sigmoid, torch.ones(2)), tmp_path)
    assert "sigmoid" in (tmp_path / "model_ts_code.txt").read_text()
    assert not (tmp_path / "model.txt").exists()


def test_an_eager_model_cannot_be_dumped(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match="got Chooser"):
        dump_torchscript_IR(Chooser(), tmp_path)


class Rebuilder(nn.Module):
    """Does everything that scripted instances can do."""

    def forward(self, boxes: Tensor, scores: Tensor) -> list[Instances]:
        instances = Instances((3, 4))
        assert not instances.has("scores")
        instances.pred_boxes = Boxes(boxes)
        instances.scores = scores
        by_index = instances[torch.tensor([1, 0])]
        by_mask = instances[scores > 0.5]
        fields = instances.get_fields()
        assert "unset" not in fields
        changed = Instances(instances.image_size)
        changed.scores = fields["scores"] + fields["pred_boxes"].sum(dim=1)
        return [by_index, by_mask, changed, Instances.cat([by_index, by_mask])]


def test_compiled_code_indexes_joins_and_reads_fields_as_eager_code_does() -> None:
    boxes, scores = torch.rand(4, 4), torch.tensor([0.9, 0.1, 0.6, 0.2])
    scripted = scripting_with_instances(Rebuilder().eval(), FIELDS)
    found = [unscripted_instances(each) for each in scripted(boxes, scores)]
    assert found[0].scores.tolist() == scores[[1, 0]].tolist()
    assert torch.equal(found[0].pred_boxes.tensor, boxes[[1, 0]])
    assert found[1].scores.tolist() == scores[[0, 2]].tolist()
    torch.testing.assert_close(found[2].scores, scores + boxes.sum(dim=1))
    assert sorted(found[2].get_fields()) == ["scores"]
    assert torch.equal(found[3].scores, torch.cat([scores[[1, 0]], scores[[0, 2]]]))
    assert all(each.image_size == (3, 4) for each in found)


def test_made_instances_behave_like_eager_ones() -> None:
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    with patch_instances(FIELDS) as made:
        instances = made((3, 4))
        instances.pred_boxes, instances.scores = Boxes(boxes), scores
        picked = instances[torch.tensor([2, 0])]
        joined = made.cat([instances, picked])
    eager = Instances((3, 4), pred_boxes=Boxes(boxes), scores=scores)
    assert len(instances) == len(eager) == 3
    assert instances.has("pred_boxes")
    assert not instances.has("unset")
    assert not instances.has("unknown")
    assert torch.equal(picked.scores, eager[torch.tensor([2, 0])].scores)
    assert torch.equal(
        joined.pred_boxes.tensor, Boxes.cat([Boxes(boxes), picked.pred_boxes]).tensor
    )
    assert sorted(instances.get_fields()) == ["pred_boxes", "scores"]
    moved = instances.to(torch.device("meta"))
    assert moved.scores.device.type == moved.pred_boxes.tensor.device.type == "meta"


class Marks:
    """Points of a user, which TorchScript can compile."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def test_fields_may_be_of_a_class_of_one_s_own() -> None:
    with patch_instances({"marks": Marks}) as made:
        instances = made((3, 4))
        instances.marks = Marks(torch.rand(2, 5))
        picked = instances[torch.tensor([1])]
    assert type(picked.marks) is Marks
    assert picked.get_fields()["marks"].shape == (1, 5)


def test_two_fields_of_one_type_are_two_fields() -> None:
    with patch_instances({"proposal_boxes": Boxes, "pred_boxes": Boxes}) as made:
        instances = made((3, 4))
        instances.pred_boxes = Boxes(torch.rand(2, 4))
    assert instances.has("pred_boxes")
    assert not instances.has("proposal_boxes")


def test_what_was_patched_is_put_back_after_an_error() -> None:
    cat = Instances.cat
    with pytest.raises(ZeroDivisionError), patch_instances(FIELDS):
        _ = 1 / 0
    assert Instances.cat is cat
    assert not hasattr(Instances, "_jit_override_qualname")
    with patch_instances(FIELDS):
        assert Instances.cat is not cat


def test_nothing_is_patched_where_a_field_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="'cat' is something else in Instances"),
        patch_instances({"scores": Tensor, "cat": Tensor}),
    ):
        pass
    assert not hasattr(Instances, "_jit_override_qualname")


def test_without_fields_only_the_size_is_left() -> None:
    with patch_instances({}) as made:
        instances = made((5, 6))
    assert unscripted_instances(instances).image_size == (5, 6)
    assert instances.get_fields() == {}
    with pytest.raises(ValueError, match="Instances without fields have no length"):
        len(instances)


def test_a_scripted_model_is_saved_and_loaded_with_its_instances(tmp_path: pathlib.Path) -> None:
    scripted = scripting_with_instances(Chooser().eval(), FIELDS)
    torch.jit.save(scripted, tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")
    x = torch.rand(5, 4)
    for one, other in zip(loaded(x), scripted(x), strict=True):
        assert torch.equal(one.scores, other.scores)
        assert one.image_size == (30, 40)


@pytest.mark.parametrize("other", [None, [1], torch.ones(2), BitMasks(torch.ones(1, 2, 2).bool())])
def test_what_no_scripted_model_gives_is_named(other: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(other).__name__}"):
        unscripted_instances(other)
