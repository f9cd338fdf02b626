"""The interface of Caffe2 export, over ONNX."""

from typing import Any

import pytest
import torch

from d2_config import get_cfg
from d2_modeling.export import Caffe2Model, Caffe2Tracer, add_export_config

onnx = pytest.importorskip("onnx", reason="ONNX models are made of the package onnx")
pytest.importorskip("onnxscript", reason="ONNX models are made by onnxscript")
pytest.importorskip("onnxruntime", reason="ONNX models are run by ONNX Runtime")


def inputs_of(*sizes: tuple[int, int]) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"image": torch.rand(3, *size, generator=generator) * 140} for size in sizes]


@pytest.fixture(scope="module")
def tracer(detector: Any) -> Caffe2Tracer:
    return Caffe2Tracer(add_export_config(get_cfg()), detector, inputs_of((6, 8)))


@pytest.fixture(scope="module")
def model(tracer: Caffe2Tracer) -> Caffe2Model:
    return Caffe2Model(tracer.export_onnx(), None)


def test_the_onnx_model_gives_what_the_torch_model_gives(model: Caffe2Model, detector: Any) -> None:
    inputs = inputs_of((9, 7), (5, 12))
    for got, wanted in zip(model(inputs), detector(inputs), strict=True):
        assert len(wanted["instances"]) > 0
        torch.testing.assert_close(got["instances"].scores, wanted["instances"].scores)
        torch.testing.assert_close(
            got["instances"].pred_boxes.tensor, wanted["instances"].pred_boxes.tensor
        )


def test_the_graph_is_a_valid_onnx_model(model: Caffe2Model) -> None:
    onnx.checker.check_model(model.predict_net)
    assert model.init_net is None


def test_torchscript_takes_and_gives_tensors(tracer: Caffe2Tracer, detector: Any) -> None:
    images, sizes = torch.rand(1, 3, 5, 4) * 140, torch.tensor([[5, 4]])
    outputs = tracer.export_torchscript()(images, sizes)
    assert torch.equal(outputs[0], detector.predict_tensors(images, sizes)["boxes"])


def test_what_is_of_caffe2_only_says_what_to_call_instead(
    tracer: Caffe2Tracer, model: Caffe2Model
) -> None:
    with pytest.raises(RuntimeError, match=r"call export_onnx\(\)"):
        tracer.export_caffe2()
    with pytest.raises(RuntimeError, match=r'export\(model, "onnx", "out/model.onnx"'):
        model.save_protobuf("out")
    with pytest.raises(RuntimeError, match="netron"):
        model.save_graph("graph.svg")
    with pytest.raises(RuntimeError, match="load_exported"):
        Caffe2Model.load_protobuf("out")


def test_a_graph_that_is_no_exported_model_is_refused() -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [result])
    with pytest.raises(ValueError, match=r"has no outputs \['y'\]"):
        Caffe2Model(onnx.helper.make_model(graph), None)


def test_the_keys_of_caffe2_are_added_to_frozen_configs_too() -> None:
    cfg = get_cfg()
    cfg.freeze()
    assert add_export_config(cfg) is cfg
    assert cfg.EXPORT_CAFFE2.USE_HEATMAP_MAX_KEYPOINT is False
    assert cfg.is_frozen()
