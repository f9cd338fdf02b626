"""ONNX files in fewer bits: smaller, near to the model, and said to be so."""

import pathlib
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.export import ExportableModel, export, load_exported, read_sidecar
from d2_modeling.export.int8 import calibration_tensors
from d2_modeling.export.precision import PRECISIONS, check_precision
from d2_modeling.meta_arch import SemanticSegmentor

onnx = pytest.importorskip("onnx", reason="ONNX files are edited by onnx")
pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")
pytest.importorskip("onnxruntime", reason="ONNX files are run by ONNX Runtime")

OF_ONNX = tuple(each for each in PRECISIONS if each != "bfloat16")
# How far from the model, of the largest value.
ERRORS = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2, "int8": 0.03}


class Block(SemanticSegmentor):
    """A block of a residual network, as a segmentor: small, and exported within seconds."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        for name, value in (("pixel_mean", 120.0), ("pixel_std", 60.0)):
            self.register_buffer(name, torch.full((3, 1, 1), value))
        self.sem_seg_head = nn.Identity()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.third = nn.Conv2d(32, 4, 1)

    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        x = ((images - self.pixel_mean) / self.pixel_std) * image_sizes.sum().clamp(max=1)
        x = self.first(x).relu()
        return {"sem_seg": self.third((x + self.second(x)).relu())}


@pytest.fixture(scope="module")
def model() -> Block:
    torch.manual_seed(0)
    return Block().eval()


def photos(count: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    sizes = [(24 + 3 * i, 40 - 2 * i) for i in range(count)]
    return [
        {"image": torch.randint(0, 255, (3, *size), generator=generator, dtype=torch.uint8)}
        for size in sizes
    ]


@pytest.fixture(scope="module")
def files(model: Block, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("precisions")
    made = {}
    for precision in OF_ONNX:
        calibration = {"calibration_inputs": iter(photos(6))} if precision == "int8" else {}
        path = folder / f"{precision}.onnx"
        export(*(model, "onnx", path, photos(2)), precision=precision, report=None, **calibration)
        made[precision] = path
    return made


def test_files_of_fewer_bits_are_smaller(files: dict[str, pathlib.Path]) -> None:
    whole, half, quarter = (_bytes_of_weights(files[precision]) for precision in OF_ONNX)
    assert half < 0.6 * whole
    assert quarter < 0.4 * whole


def _bytes_of_weights(path: pathlib.Path) -> int:
    weights = onnx.load(path).graph.initializer
    return sum(len(one.raw_data) for one in weights if len(one.dims) == 4)


@pytest.mark.parametrize("precision", OF_ONNX)
def test_the_sidecar_says_the_precision_and_the_file_is_near_the_model(
    precision: str, files: dict[str, pathlib.Path], model: Block
) -> None:
    path = files[precision]
    onnx.checker.check_model(str(path), full_check=True)
    assert read_sidecar(path).precision == precision
    error = _error(path, model)
    assert error < ERRORS[precision]
    assert (error > 1e-5) == (precision != "float32")


def _error(path: pathlib.Path, model: Block) -> float:
    (image,) = photos(1)
    (got,) = load_exported(path)([image])
    size = torch.tensor([image["image"].shape[1:]])
    with torch.no_grad():
        wanted = model.predict_tensors(image["image"][None].float(), size)["sem_seg"][0]
    return float((got["sem_seg"] - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_openvino_computes_in_fewer_bits(
    precision: str, model: Block, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    calibration = {"calibration_inputs": photos(6)} if precision == "int8" else {}
    path = tmp_path / "model.xml"
    export(model, "openvino", path, photos(2), precision=precision, report=None, **calibration)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "model.bin",
        "model.xml",
        "model.xml.json",
    ]
    assert read_sidecar(path).precision == precision
    assert _error(path, model) < ERRORS[precision]


def test_what_lies_between_layers_of_int8_is_int8_too(files: dict[str, pathlib.Path]) -> None:
    nodes = onnx.load(files["int8"]).graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    (added,) = (n for n in nodes if n.op_type == "Add" and "DequantizeLinear" in _of(n, makers))
    assert _of(added, makers) == ["DequantizeLinear"] * 2
    assert [node for node in nodes if node.op_type == "Relu"] == []


def _of(node: Any, makers: dict[str, str]) -> list[str | None]:
    return [makers.get(name) for name in node.input]


def test_what_lies_between_layers_is_not_converted_back_and_forth(
    files: dict[str, pathlib.Path],
) -> None:
    nodes = onnx.load(files["float16"]).graph.node
    read = {name for node in nodes for name in node.input}
    halves = [node for node in nodes if node.op_type in ("Conv", "Relu", "Add")]
    kinds = Counter(node.op_type for node in halves if node.output[0].endswith(".half"))
    assert kinds == {"Conv": 3, "Relu": 2, "Add": 1}
    into = [n for n in nodes if n.op_type == "Cast" and n.output[0].endswith(".half")]
    assert len([node for node in into if node.output[0] in read]) == 1  # the image


def test_two_products_of_int8_fit_in_16_bits(files: dict[str, pathlib.Path]) -> None:
    graph = onnx.load(files["int8"]).graph
    weights = [onnx.numpy_helper.to_array(each) for each in graph.initializer]
    largest = [int(abs(w.astype(int)).max()) for w in weights if w.dtype == "int8" and w.ndim == 4]
    assert len(largest) == 2
    assert 2 * 255 * max(largest) < 2**15
    assert min(largest) > 60


def test_the_last_layer_of_int8_stays_float32(files: dict[str, pathlib.Path]) -> None:
    graph = onnx.load(files["int8"]).graph
    weights = {each.name for each in graph.initializer if len(each.dims) == 4}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert [node.input[1] in weights for node in convolutions] == [False, False, True]


@pytest.mark.parametrize(
    ("precision", "format", "calibrated", "message"),
    [
        ("int4", "onnx", False, "unknown precision 'int4'"),
        ("float16", "openvino", False, r"is for the format \['onnx'\], not 'openvino'"),
        ("bfloat16", "onnx", False, r"is for the format \['openvino'\], not 'onnx'"),
        ("int8", "aotinductor", True, r"\['onnx', 'openvino'\], not 'aotinductor'"),
        ("int8", "onnx", False, "needs calibration_inputs"),
        ("float16", "onnx", True, "takes no calibration_inputs"),
    ],
)
def test_what_cannot_be_written_is_refused(
    precision: str, format: str, calibrated: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_precision(precision, format, calibrated)


def test_int8_without_an_image_is_refused(model: Block, tmp_path: pathlib.Path) -> None:
    nothing: Any = calibration_tensors(ExportableModel(model), [], torch.device("cpu"))
    with pytest.raises(ValueError, match="got none"):
        list(nothing)
