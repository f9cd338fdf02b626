"""Export under the names of detectron2."""

import sys
import types

import pytest
import torch


@pytest.mark.usefixtures("detectron2")
def test_names_of_export_are_those_of_d2() -> None:
    from detectron2.export import STABLE_ONNX_OPSET_VERSION, TracingAdapter, torchscript
    from detectron2.export.flatten import flatten_to_tuple
    from detectron2.export.torchscript_patch import freeze_training_mode, patch_instances

    import d2_modeling.export

    assert TracingAdapter is d2_modeling.export.TracingAdapter
    assert flatten_to_tuple is d2_modeling.export.flatten_to_tuple
    assert torchscript.patch_instances is patch_instances is d2_modeling.export.patch_instances
    assert freeze_training_mode is d2_modeling.export.freeze_training_mode
    assert STABLE_ONNX_OPSET_VERSION == d2_modeling.export.OPSET


@pytest.mark.usefixtures("detectron2")
@pytest.mark.filterwarnings(r"ignore:`torch\.jit")
def test_len_is_recorded_in_the_modules_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from detectron2.export.torchscript_patch import patch_builtin_len

    project = types.ModuleType("project_with_lengths")
    exec("import torch\ndef rows(x): return torch.zeros(len(x)) + len([1, 2])", vars(project))
    monkeypatch.setitem(sys.modules, project.__name__, project)
    with patch_builtin_len([project.__name__]):
        traced = torch.jit.trace(project.rows, torch.ones(3))
    assert torch.equal(traced(torch.ones(5)), torch.full((5,), 2.0))
    assert not hasattr(project, "len")
