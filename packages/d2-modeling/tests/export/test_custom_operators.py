"""ONNX files of rotated boxes and deformable convolutions run with the library of d2-ops."""

import json
import pathlib
import shutil
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import d2_ops
from d2_modeling.export import Caffe2Model, export, load_exported, sidecar_path
from d2_modeling.export.custom_operators import custom_domains, custom_translations
from d2_modeling.layers import FrozenBatchNorm2d
from d2_modeling.meta_arch import SemanticSegmentor

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from tiny_models import build, images  # of this folder

onnx = pytest.importorskip("onnx", reason="the graph is read by the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX files are run by ONNX Runtime")
pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")

SIZES = [(64, 80), (50, 72)]


class EveryOperator(nn.Module):
    """One call of each operator that models call, and of what else has a translation."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(6, 18, 3, padding=1)
        self.mask = nn.Conv2d(6, 18, 3, padding=1, stride=2)
        self.more_offset = nn.Conv2d(6, 36, 3, padding=1, stride=2)
        self.plain = d2_ops.DeformConv(6, 4, 3, padding=1, bias=True)
        self.grouped = d2_ops.ModulatedDeformConv(
            *(6, 4, 3), padding=1, stride=2, groups=2, deformable_groups=2
        )

    def forward(self, boxes: Tensor, scores: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        kept = d2_ops.nms_rotated(boxes, scores, 0.3)
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
        return (
            kept,
            d2_ops.batched_nms_rotated(boxes, scores, (10 * scores).long() % 2, 0.3),
            d2_ops.box_iou_rotated(boxes, boxes[kept]),
            d2_ops.decode_rotated_boxes(boxes / 10, boxes, (10.0, 10, 5, 5, 1), 4.0),
            d2_ops.roi_align_rotated(features, rois, (2, 3), 0.5, 2),
            d2_ops.multilevel_roi_align_rotated(
                [features, features[:, :, ::2, ::2]], rois, 2, [0.5, 0.25], canonical_box_size=16
            ),
            self.plain(features, self.offset(features)),
            self.grouped(features, self.more_offset(features), self.mask(features).sigmoid()),
        )


def example(count: int, shape: tuple[int, int, int, int]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(count)
    boxes = torch.rand(count, 5, generator=generator) * torch.tensor([40.0, 40, 30, 30, 360])
    scores = torch.rand(count, generator=generator)
    return boxes, scores, torch.rand(shape, generator=generator)


def test_each_operator_gives_what_it_gives_in_torch_for_any_size(tmp_path: pathlib.Path) -> None:
    torch.manual_seed(0)
    module = EveryOperator().eval()
    count = torch.export.Dim("count")
    images_, height, width = (torch.export.Dim(name, max=999) for name in ("n", "h", "w"))
    path = tmp_path / "operators.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module,
            example(20, (2, 6, 20, 24)),
            path,
            dynamo=True,
            optimize=False,
            opset_version=18,
            dynamic_shapes=({0: count}, {0: count}, {0: images_, 2: height, 3: width}),
            custom_translation_table=custom_translations(),
            verbose=False,
        )
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert custom_domains(model) == ("d2_ops",)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(d2_ops.onnx_library()))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    for case in (example(20, (2, 6, 20, 24)), example(0, (1, 6, 9, 31)), example(99, (3, 6, 5, 5))):
        with torch.no_grad():
            wanted = module(*case)
        given = {name: each.numpy() for name, each in zip(names, case, strict=True)}
        for got, one in zip(session.run(None, given), wanted, strict=True):
            torch.testing.assert_close(torch.from_numpy(np.array(got)), one)


@pytest.fixture(scope="module")
def detector() -> Any:
    return build("Rotated Faster R-CNN")


@pytest.fixture(scope="module")
def artefact(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The detector as a file, which export() compared with it, also where it finds nothing."""
    path = tmp_path_factory.mktemp("rotated") / "model.onnx"
    made = export(detector, "onnx", path, images(SIZES), report=None)
    assert {"no detection", "one image", "more images"} <= set(made.differences)
    return path


@pytest.mark.parametrize("sizes", [SIZES, [(33, 47)], [(16, 90), (64, 20), (70, 70)], []])
def test_a_rotated_model_finds_the_same_in_images_of_any_size_and_number(
    sizes: list[tuple[int, int]], artefact: pathlib.Path, detector: Any
) -> None:
    inputs = images(sizes)
    with torch.no_grad():
        wanted = detector(inputs) if inputs else []
    for one, other in zip(load_exported(artefact)(inputs), wanted, strict=True):
        found, eager = one["instances"], other["instances"]
        torch.testing.assert_close(found.pred_boxes.tensor, eager.pred_boxes.tensor)
        torch.testing.assert_close(found.scores, eager.scores)
        assert torch.equal(found.pred_classes, eager.pred_classes)
        assert len(found) > 0


def test_the_sidecar_says_whose_operators_are_called(artefact: pathlib.Path) -> None:
    assert json.loads(sidecar_path(artefact).read_text())["custom_domains"] == ["d2_ops"]
    model = onnx.load(artefact)
    assert {node.op_type for node in model.graph.node if node.domain == "d2_ops"} == {
        *("DecodeRotatedBoxes", "NmsRotated", "RoiAlignRotated")
    }
    with pytest.raises(Exception, match=r"d2_ops.*is not a registered"):
        onnxruntime.InferenceSession(artefact, providers=["CPUExecutionProvider"])


def test_a_graph_in_memory_gets_its_operators_too(artefact: pathlib.Path, detector: Any) -> None:
    inputs = images(SIZES)
    with torch.no_grad():
        wanted = detector(inputs)
    for one, other in zip(Caffe2Model(onnx.load(artefact))(inputs), wanted, strict=True):
        torch.testing.assert_close(one["instances"].scores, other["instances"].scores)


def test_a_missing_library_is_said_with_its_remedy(
    artefact: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> pathlib.Path:
        raise ImportError("d2_ops has no compiled _onnx_ops for this machine")

    monkeypatch.setattr(d2_ops, "onnx_library", missing)
    with pytest.raises(ImportError, match="no compiled _onnx_ops"):
        load_exported(artefact)


def test_a_library_that_is_none_is_named(
    artefact: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.so"
    bad.write_bytes(b"nothing")
    monkeypatch.setattr(d2_ops, "onnx_library", lambda: bad)
    with pytest.raises(ValueError, match=r"cannot load the operators of d2_ops from .*bad\.so"):
        load_exported(artefact)


def test_operators_that_nobody_has_are_named(
    artefact: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    copy = pathlib.Path(shutil.copy(artefact, tmp_path))
    content = json.loads(sidecar_path(artefact).read_text()) | {"custom_domains": ["acme"]}
    sidecar_path(copy).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no library for the operators of the domain 'acme'"):
        load_exported(copy)


class Deformable(SemanticSegmentor):
    """A deformable convolution with a norm between plain ones, as a segmentor."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        for name, value in (("pixel_mean", 120.0), ("pixel_std", 60.0)):
            self.register_buffer(name, torch.full((3, 1, 1), value))
        self.sem_seg_head = nn.Identity()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.offset = nn.Conv2d(16, 18, 3, padding=1)
        norm = FrozenBatchNorm2d(24)
        norm.weight.uniform_(0.5, 2)
        norm.running_mean.uniform_(-1, 1)
        self.deformable = d2_ops.DeformConv(16, 24, 3, padding=1, norm=norm)
        self.last = nn.Conv2d(24, 4, 1)

    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        x = ((images - self.pixel_mean) / self.pixel_std) * image_sizes.sum().clamp(max=1)
        x = self.first(x).relu()
        x = self.deformable(x, self.offset(x)).relu()
        return {"sem_seg": self.last(x)}


def test_a_deformable_convolution_in_int8_is_near_that_in_float32(tmp_path: pathlib.Path) -> None:
    torch.manual_seed(0)
    model = Deformable().eval()
    path = tmp_path / "model.onnx"
    settings: dict[str, Any] = {"precision": "int8", "calibration_inputs": images([(40, 56)] * 4)}
    export(model, "onnx", path, images([(40, 56)]), report=None, **settings)
    (entry,) = images([(33, 48)])
    with torch.no_grad():
        wanted = model.predict_tensors(entry["image"][None].float(), torch.tensor([[33, 48]]))
    (got,) = load_exported(path)([entry])
    error = (got["sem_seg"] - wanted["sem_seg"][0]).abs().max() / wanted["sem_seg"].abs().max()
    assert 1e-5 < error < 0.1
    nodes = onnx.load(path).graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    (product,) = (node for node in nodes if node.op_type == "MatMul")
    assert [makers.get(name) for name in product.input] == ["DequantizeLinear"] * 2
    # Where to look stays exact: that convolution is the last before coordinates.
    (columns,) = (node for node in nodes if node.op_type == "DeformColumns")
    assert makers[columns.input[1]] == "Conv"


def test_a_detector_of_rotated_boxes_computes_in_int8(
    detector: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "model.onnx"
    made = export(
        *(detector, "onnx", path, images(SIZES)),
        precision="int8",
        calibration_inputs=[*images([*SIZES, (70, 70)]), {"image": torch.zeros(3, 40, 40)}],
        report=None,
    )
    assert max(found["scores"] for found in made.differences.values()) > 1e-5
    content = json.loads(sidecar_path(path).read_text())
    assert (content["precision"], content["custom_domains"]) == ("int8", ["d2_ops"])
    onnx.checker.check_model(str(path), full_check=True)
    nodes = onnx.load(path).graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    # What is pooled from rotated boxes goes into a layer of int8; the last ones are of float32.
    weights = [makers.get(node.input[1]) for node in nodes if node.op_type == "Gemm"]
    assert sorted(weights, key=str) == ["DequantizeLinear", None, None]
    (result,) = load_exported(path)(images([(60, 44)]))
    assert len(result["instances"]) > 0
