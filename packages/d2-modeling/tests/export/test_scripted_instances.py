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
from d2_structures import Boxes, Instances

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
